// Package lineage is the versions that learning made of one model: what each came from, its figures, and what became of it.
//
// It decides which number a version gets, when its file is copied to where it stays, and which versions that lost are dropped. It doesn't train, compare or
// route requests (the goal, its jobs and the host's rollouts do that), and touches files by a port only. Records of versions stay when their files go.
//
//	storing ──▶ registered ──newer ones lost too──▶ dropped
//	   └──the file is gone or another one──▶ failed
//
//	RegisterVersion      -> VersionPlanned                       the same job again is the same version
//	ReportVersionStored  -> VersionRegistered
//	ReportVersionFailed  -> VersionFailed
//	ReportVersionJudged  -> VersionJudged [VersionDropped]
//	ServeVersion         -> VersionServed                        a version that served once is never dropped
//	ReportVersionRemoved -> VersionRemoved
package lineage
