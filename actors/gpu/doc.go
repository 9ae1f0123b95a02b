// Package gpu is one device's memory ledger: what may be reserved, which holders reserved it, and what other programs use.
//
// It is the only authority for its device: no other actor grants its memory. It does not choose models, start processes or read the device;
// samples are told to it (ObserveDevice) and only what changes a decision becomes an event.
//
//	unregistered ──RegisterDevice──▶ usable ◀──recovered/lost──▶ lost
//
//	a lease: ReserveVram ──▶ held ──▶ released by its holder | expired, with a time to live | reclaimed, when its holder doesn't know it
//
//	RegisterDevice     -> DeviceRegistered
//	ReserveVram        -> VramReserved, or GPUUnavailable with the sums
//	SettleVram         -> VramSettled        the measured footprint replaces the reserved one
//	ResizeVram         -> VramResized        less always, more while it fits; what was measured is forgotten
//	ReleaseVram        -> VramReleased       releasing an unknown lease is fine
//	RenewLease         -> LeaseRenewed       or nothing when one is young: only its timer starts again
//	ExpireLease        -> LeaseExpired       or nothing, when a renewal came while the report was under way
//	CheckLease         -> (nothing)          says how a lease stands: valid, gone, or fenced
//	ReportLeaseDiffers -> LeaseReclaimed
//	ObserveDevice      -> ForeignUseChanged | DeviceLost | DeviceRecovered
//	ReportFault        -> DeviceFaulted
//
// A lease's epoch is the journal sequence of its grant. Every command about a lease carries holder and epoch, and one of another holder or of
// an older epoch changes nothing: settle, resize, renew and release are refused; expire and report-differs succeed without an event, because
// the lease that they mean has ended; check answers fenced.
//
// Both sides compare leases while they run (reconcile_effects.go): the ledger asks the holder of each lease, and the arbiter that may still have
// it; the holder asks the ledger. A missing answer is never taken for a no.
//
// The Sampler stands beside the ledgers of a host: it reads the devices at intervals, tells each ledger how much of its device isn't ours
// (foreign.go), asks for relief when a device is over its threshold (pressure.go), measures what workers hold (footprint.go) and waits until
// the memory of a worker that is gone is seen to be free.
package gpu
