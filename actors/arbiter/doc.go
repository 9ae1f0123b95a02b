// Package arbiter is the scheduler: it chooses device and victims for a model from the ledgers' latest reports, writes down
// what it saw and why, and then asks the owners.
//
// It owns no memory: the gpu actor may refuse, and a refusal is new input. It starts nothing: the model actor does.
//
//	RequestPlacement ─▶ [evicting ──victims gone──▶] decided ──ReserveVram granted──▶ reserved ──PlacementGranted taken──▶ (closed)
//	                  │ pinned by now             │ refused                       │ not wanted any more
//	                  ▼                           ▼                               ▼
//	               (abandoned)                 (refused)                       releasing ──ReleaseVram──▶ (closed)
//
//	RequestPlacement               -> PlacementDecided with victims, PlacementPostponed, or GPUUnavailable with the sums per device
//	RelievePressure          -> PressureRelieved           a device is over its threshold
//	HintPlacement                -> PlacementHinted            room is kept: a penalty for others, never a refusal
//	PlanDefrag               -> nothing but the plan, or DefragDecided when it is carried out (defrag.go)
//	ReportMoveLeft           -> MoveLeft; the model's next placement ends its move
//	EndDefrag                -> DefragEnded
//	ReportPreempted            -> VictimPreempted
//	ReportReserved           -> PlacementReserved
//	ReportReservationRefused -> PlacementRefused
//	AbandonPlacement         -> PlacementAbandoned
//	ClosePlacement           -> PlacementClosed
//
// A model that is split needs a share of several devices of one host (choose.go): all reservations, or none.
//
// Who goes first is a policy (evict.go): pure, by name, minimised afterwards. A busy or pinned model is never named.
package arbiter
