package natsapi

import "modelops/messages"

var (
	inferOperation   = operationNamed("Infer")
	journalOperation = operationNamed("ReadJournal")
)

// operationNamed is an operation that is in the code. A missing one panics: an empty operation has no role to check.
func operationNamed(name string) messages.Operation {
	o, ok := messages.OperationNamed(name)
	if !ok {
		panic("natsapi: operations.proto has no rpc " + name)
	}
	return o
}

// Rights are the subjects that a principal may publish to and subscribe to in the account of its key: its operations, the micro service's
// questions, its inboxes, and the events for those who may read the journal. The server refuses every other subject.
func Rights(p messages.Principal) (publish, subscribe []string) {
	for _, o := range messages.OperationTable() {
		if o.NATS == "" || p.Allows(o, messages.Model{}) != nil {
			continue
		}
		publish = append(publish, root+"."+o.NATS)
		if o.NATSName != "" {
			publish = append(publish, root+"."+o.NATS+".>")
		}
	}
	if p.Allows(inferOperation, messages.Model{}) == nil {
		publish = append(publish, root+".cancel.*", root+".cancel.>")
	}
	if len(publish) > 0 {
		for _, verb := range []string{"PING", "INFO", "STATS"} {
			publish = append(publish, "$SRV."+verb, "$SRV."+verb+".>")
		}
	}
	subscribe = []string{"_INBOX.>", "_INBOX_" + p.Fingerprint + ".>"}
	if p.Allows(journalOperation, messages.Model{}) == nil && (p.Scope == nil || len(p.Scope.Models) == 0) { // events are of all models
		subscribe = append(subscribe, root+".events.>")
	}
	return publish, subscribe
}
