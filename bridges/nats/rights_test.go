package natsapi

import (
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// A key's subjects are those of the operations that its role and scope allow, and nobody may subscribe to a request or publish an event.
func TestRightsFollowTheTable(t *testing.T) {
	only := &messages.Scope{Operations: []string{"Infer", "GetQueue"}}
	for _, p := range []messages.Principal{
		{Name: "none"}, {Name: "peer", Role: messages.Role_PEER}, {Name: "i", Role: messages.Role_INFER}, {Name: "r", Role: messages.Role_READ},
		{Name: "o", Role: messages.Role_OPERATE}, {Name: "a", Role: messages.Role_ADMIN}, {Name: "s", Role: messages.Role_ADMIN, Scope: only},
	} {
		publish, subscribe := Rights(p)
		for _, o := range messages.OperationTable() {
			if o.NATS == "" {
				continue
			}
			want := p.Allows(o, messages.Model{}) == nil
			if got := slices.Contains(publish, root+"."+o.NATS); got != want {
				t.Errorf("%s may %s: %v, want %v", p.Name, o.Name, got, want)
			}
			if got := slices.Contains(publish, root+"."+o.NATS+".>"); got != (want && o.NATSName != "") {
				t.Errorf("%s may %s with a name: %v", p.Name, o.Name, got)
			}
		}
		if p.Role == messages.Role_ROLE_UNKNOWN && len(publish) > 0 {
			t.Errorf("nobody may publish %v", publish)
		}
		reads := slices.Contains(subscribe, root+".events.>")
		if want := p.Allows(journalOperation, messages.Model{}) == nil; reads != want {
			t.Errorf("%s sees events: %v", p.Name, reads)
		}
		for _, s := range publish {
			if s == ">" || s == root+".>" || strings.HasPrefix(s, root+".events") || strings.HasPrefix(s, "$JS") || strings.HasPrefix(s, "$KV") || strings.HasPrefix(s, "journal.") {
				t.Errorf("%s may publish %s", p.Name, s)
			}
		}
		for _, s := range subscribe {
			if !strings.HasPrefix(s, "_INBOX") && !strings.HasPrefix(s, root+".events.") {
				t.Errorf("%s may subscribe to %s", p.Name, s)
			}
		}
	}
}

// A key for some models doesn't see what happens to others.
func TestEventsAreForTheWholeHost(t *testing.T) {
	_, subscribe := Rights(messages.Principal{Name: "x", Fingerprint: "f", Role: messages.Role_READ, Scope: &messages.Scope{Models: []string{"qwen2.5", "org/*"}}})
	if want := []string{"_INBOX.>", "_INBOX_f.>"}; !slices.Equal(subscribe, want) {
		t.Errorf("%v, want %v", subscribe, want)
	}
}
