// Package arbiter is the scheduler: it chooses host, devices and victims for a claim from the ledgers' latest reports, writes down what it saw
// and why, and then asks the owners.
//
// It knows holders and claims, not models. A holder is an actor that holds device memory (model/main_pc/tiny, job/main_pc/tune), such an actor on a host that is
// still to be chosen (model/*/tiny), or a program (client/NAME). A claim says what the holder needs on each host where it can run.
//
// It owns no memory: the owner of a device may refuse, and a refusal is new input. It starts nothing: the holder does. A placement names one host,
// and all its shares are devices of that host (question.go, choose.go). A split claim needs several of them: all reservations are made, or none.
//
//	RequestPlacement ──▶ [evicting ──victims gone──▶] decided ──every share reserved──▶ reserved ──holder takes it──▶ (closed)
//	                          │ a victim stays           │ an owner refuses                 │ holder refuses, or no program takes it over
//	                          ▼                          ▼                                  ▼
//	                      releasing ──▶ (closed)     (refused)                          releasing ──leases released──▶ (closed)
//
//	RequestPlacement         -> PlacementDecided with victims, PlacementPostponed, or GPUUnavailable with the sums per device;
//	                            nothing when the claim has a placement already, or a holder of that name has its memory,
//	                            or while a pause after placements that came to nothing lasts (setback.go)
//	ReportPreempted          -> VictimPreempted
//	ReportReserved           -> PlacementReserved
//	ReportReservationRefused -> PlacementRefused
//	AbandonPlacement         -> PlacementAbandoned
//	ClosePlacement           -> PlacementClosed
//	RelievePressure          -> PressureRelieved           a device is over its threshold
//	HintPlacement            -> PlacementHinted            room is kept: a penalty for others, never a refusal (room.go)
//	PlanDefrag               -> (nothing) but the plan, or DefragDecided when it is carried out (defrag.go)
//	ReportMoveLeft           -> MoveLeft                   the holder's next placement ends its move
//	EndDefrag                -> DefragEnded
//	TakeOver                 -> ArbiterTookOver, and PlacementAbandoned for what no owner has granted yet (takeover.go)
//	StandDown                -> the same without the first: another host's arbiter has the seat, and this one refuses questions
//	ReportReinstated         -> DisplacedReinstated        models that left for a job are asked to come back (displaced.go)
//	CheckInversion           -> InversionEnded             when the holder waits no more, or the job has left (inversion.go)
//	QueryHolding             -> (nothing)                  says whether a lease belongs to an open placement
//
// What the arbiter asks of holders: PlacementGranted, Preempt, Reinstate. A program is asked nothing: it sees its placement by asking again, and
// closes it when it has taken its memory over.
//
// Which holders leave first is a policy (evict.go): pure, by name, and the set of victims is minimised afterwards. A pinned holder is never a
// victim, a busy one only for a holder that has waited for too long. Jobs leave before models and at once for what has a higher priority; which of
// them is placed next, and which gives back what it borrowed, say quotas and a fair order (quota.go). A RequestPlacement is also where a priority
// inversion is found: InversionFound, InversionEnded.
package arbiter
