// Package host is one machine's life: its boots, its configuration's revision, and which of its actors gave up.
//
// It supervises nothing by itself: package tree restarts actors and tells this one when it stops trying.
//
//	stopped ──StartHost──▶ running ──StopHost──▶ stopped        (a boot without a stop before it was a crash)
//
//	StartHost    -> HostStarted
//	StopHost     -> HostStopped
//	RecordConfig -> ConfigApplied
//	ReportGaveUp -> ActorGaveUp
//	RestartActor -> ActorRevived (package tree starts it afresh on the next message to it)
package host
