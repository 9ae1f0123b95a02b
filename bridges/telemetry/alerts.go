package telemetry

import (
	"log/slog"

	"modelops/messages"
)

// Alert logs those events of a decision that a person should look at: a device and the holder of a lease did not agree, which ended the lease or
// its worker; a worker was found that no journal knows.
func Alert(log *slog.Logger, r messages.Recorded) {
	for _, e := range r.Events {
		switch e := e.(type) {
		case *messages.LeaseReclaimed:
			log.Warn("a lease was taken back that its holder doesn't know", "actor", r.Actor.String(), "lease", e.Lease, "holder", e.Holder, "epoch", e.Epoch, "reason", e.Reason)
		case *messages.StrayWorker:
			if e.Reason == "" {
				log.Warn("a worker of this data directory was found that no journal knows, and ended", "pid", e.Pid, "nonce", e.Nonce)
			} else {
				log.Warn("a worker of this data directory was found that no journal knows", "pid", e.Pid, "nonce", e.Nonce, "still runs because", e.Reason)
			}
		case *messages.ModelLeaseLost:
			log.Warn("a worker has to stop because its lease is lost", "actor", r.Actor.String(), "lease", e.Lease, "epoch", e.Epoch, "reason", e.Reason)
		}
	}
}
