// Package arbiter is the scheduler: it chooses host, devices and victims for a claim from the ledgers' latest reports, journals the inputs
// and the reason, and then asks the owners.
//
// It knows holders and claims, no models. It owns no memory: the gpu actor may refuse, and a refusal is new input. It starts nothing: the
// model actor does.
//
//	RequestPlacement ─▶ [evicting ──victims gone──▶] decided ──ReserveVram granted──▶ reserved ──PlacementGranted taken──▶ (closed)
//	                  │ pinned by now             │ refused                       │ not wanted any more
//	                  ▼                           ▼                               ▼
//	               (abandoned)                 (refused)                       releasing ──ReleaseVram──▶ (closed)
//
//	RequestPlacement         -> PlacementDecided with victims, PlacementPostponed, or GPUUnavailable with the sums per device
//	RelievePressure          -> PressureRelieved           a device is over its threshold
//	HintPlacement            -> PlacementHinted            room is kept: a penalty for others, never a refusal
//	PlanDefrag               -> nothing but the plan, or DefragDecided when it is carried out (defrag.go)
//	ReportMoveLeft           -> MoveLeft; the model's next placement ends its move
//	EndDefrag                -> DefragEnded
//	ReportPreempted          -> VictimPreempted
//	ReportReserved           -> PlacementReserved
//	ReportReservationRefused -> PlacementRefused
//	AbandonPlacement         -> PlacementAbandoned
//	ClosePlacement           -> PlacementClosed
//
// A split claim needs a share of several devices of one host (choose.go): all reservations are made, or none.
//
// The order of victims is a policy (evict.go): pure, named in the configuration, with the set minimised afterwards. A pinned holder is never a
// victim, and a busy one only for a claim that is overdue.
package arbiter
