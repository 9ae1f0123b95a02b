package peer

import (
	"strings"
	"testing"

	"modelops/messages"
)

// What hosts send each other is in the table of commands, by which the other end finds it; so is the question whether an arbiter of another host knows a lease,
// which the ledger of a device asks of the one that reserved it.
func TestWhatHostsSendIsFound(t *testing.T) {
	for what := range allowed {
		kind, name, _ := strings.Cut(what, "/")
		if _, err := messages.CommandNamed(kind, name); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	p := &Peers{o: Options{Host: "pc2"}}
	for actor, command := range map[string]string{"arbiter": "QueryHolding", "model/pc2/tiny": "QueryHolding"} {
		if _, _, err := p.commandOf(&messages.PeerAsk{Actor: actor, Command: command}); err != nil {
			t.Errorf("%s of %s: %v", command, actor, err)
		}
	}
}

// TestHoldersOfOtherHostsAreTold: the arbiter may be on another host, and what it tells a holder of memory must come through, whatever kind of actor that is.
func TestHoldersOfOtherHostsAreTold(t *testing.T) {
	p := &Peers{o: Options{Host: "pc2"}}
	for _, k := range messages.Kinds() {
		for _, command := range []string{"PlacementGranted", "Preempt", "Reinstate", "QueryHolding"} {
			if _, _, err := p.commandOf(&messages.PeerAsk{Actor: k.Name + "/pc2/x", Command: command}); k.Holds && err != nil {
				t.Errorf("%s of a %s: %v", command, k.Name, err)
			}
		}
	}
}
