// Package arbiter is the scheduler: it chooses device and victims for a model from the ledgers' latest reports, writes down
// what it saw and why, and then asks the owners.
//
// It owns no memory: the gpu actor may refuse, and a refusal is new input. It starts nothing: the model actor does.
//
//	PlaceModel ─▶ decided ──ReserveVram granted──▶ reserved ──StartLoad taken──▶ (closed)
//	                 │ refused                        │ not wanted any more
//	                 ▼                                ▼
//	              (refused)                        releasing ──ReleaseVram──▶ (closed)
//
//	PlaceModel               -> PlacementDecided, or GPUUnavailable with the sums per device
//	ReportReserved           -> PlacementReserved
//	ReportReservationRefused -> PlacementRefused
//	ClosePlacement           -> PlacementClosed
package arbiter
