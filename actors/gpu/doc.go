// Package gpu is one device's memory ledger: what may be reserved, which holder reserved it, and how much other programs use.
//
// It is the only authority for its device: no other actor grants its memory. It does not choose models, start processes or read
// the device; it gets samples (ObserveDevice), and only a change that matters for decisions becomes an event.
//
//	unregistered ──RegisterDevice──▶ usable ◀──recovered/lost──▶ lost
//
//	ReserveVram    -> VramReserved, or GPUUnavailable with the sums
//	SettleVram     -> VramSettled        the measured footprint replaces the reserved one
//	ResizeVram     -> VramResized        less always, more while it fits; what was measured is forgotten
//	ReleaseVram    -> VramReleased       releasing the unknown is fine
//	RenewLease     -> (nothing)          only its timer starts again
//	ExpireLease    -> LeaseExpired
//	CheckLease     -> (nothing)          says how a lease stands
//	ReportLeaseDiffers -> LeaseReclaimed   its holder doesn't know the lease
//	ObserveDevice  -> ForeignUseChanged | DeviceLost | DeviceRecovered
//	ReportFault    -> DeviceFaulted
//
// The lease's epoch is the journal sequence of its grant. Settle, resize, renew, expire and release carry holder and epoch: those of another
// holder or of an older epoch are refused.
//
// The Sampler stands beside the ledgers of a host: it reads the devices at intervals, tells each ledger how much of its device isn't ours
// (foreign.go), asks for relief when a device is over its threshold (pressure.go), measures what workers hold (footprint.go) and waits until
// the memory of a worker that is gone is seen to be free.
package gpu
