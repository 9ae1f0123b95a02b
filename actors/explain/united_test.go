package explain

import (
	"context"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// atHost gives devices and holders of a story to another host.
func atHost(host string, d *messages.PlacementDecided) *messages.PlacementDecided {
	away := func(actor string) string { return strings.Replace(actor, "/main_pc/", "/"+host+"/", 1) }
	p := d.Placement
	p.Host, p.Shares[0].Gpu = host, away(p.Shares[0].Gpu)
	for i, v := range p.Victims {
		p.Victims[i] = away(v)
	}
	for _, c := range d.Candidates {
		if c.Chosen {
			c.Gpu = away(c.Gpu)
			for _, v := range c.Victims {
				v.Holder = away(v.Holder)
			}
		}
	}
	return d
}

// twoHosts are the journals of main_pc, whose arbiter places, and of pc2, where a is placed and then leaves for b. The clock of main_pc is an
// hour ahead.
func twoHosts() (main, pc2 *tale) {
	main, pc2 = newTale(), newTale()
	main.wait(time.Hour)
	for _, name := range []string{"sim0", "sim1"} {
		main.tell(dev(name), &messages.DeviceRegistered{Kind: "simulated", Name: name, CapacityBytes: 24000 * mb, MarginBytes: 512 * mb})
	}
	at := func(id string) string { return strings.Replace(id, "/main_pc/", "/pc2/", 1) }
	pc2.tell(at(dev("sim0")), &messages.DeviceRegistered{Kind: "simulated", Name: "sim0", CapacityBytes: 24000 * mb, MarginBytes: 512 * mb})
	for _, name := range []string{"a", "b"} {
		pc2.tell(at(m(name)), &messages.ModelDeclared{Spec: &messages.ModelSpec{Name: name, Runtime: "embedded", VramBytes: 12000 * mb, Aliases: []string{"also-" + name}}})
	}
	followed := func(d *messages.PlacementDecided, name string) {
		cause := main.records[len(main.records)-1].ID
		pc2.tell(d.Placement.Gpu(), &messages.VramReserved{Lease: d.Placement.Shares[0].Lease, Holder: at(m(name)), Bytes: d.Placement.Bytes()})
		pc2.records[len(pc2.records)-1].Meta.Causation = cause
		pc2.tell(at(m(name)), &messages.ModelWanted{Reason: "a request waits for it", Attempt: 1}, &messages.ModelLoadStarted{Attempt: 1, Placement: d.Placement})
		pc2.tell(at(m(name)), &messages.ModelReady{Attempt: 1, MeasuredBytes: d.Placement.Bytes(), Slots: 4, LoadMs: 900})
	}
	ids := func(s *tale, host string) {
		for i := range s.records {
			s.records[i].ID = host + s.records[i].ID
		}
	}
	main.tell("arbiter", &messages.PlacementPostponed{Holder: "model/*/a", Claim: messages.ByName, Reason: "full", Candidates: []*messages.Candidate{weighed("sim0", 20000, 12000, refused("full"))}})
	d := decided("a", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen), weighed("sim0", 20000, 12000, refused("full")))
	d.Placement.Holder, d.Placement.Claim = "model/*/a", messages.ByName
	main.tell("arbiter", atHost("pc2", d))
	followed(d, "a")
	evicts := decided("b", 1, "sim0", messages.Need_declared, weighed("sim0", 12000, 12000, chosen, leaves(0.5, out("a", 12000, 60000, 900))))
	evicts.Placement.Holder = "model/*/b"
	main.tell("arbiter", atHost("pc2", evicts))
	pc2.tell(at(m("a")), &messages.ModelUnwanted{Reason: "makes room for b", Placement: "p-b-1", EvictedFor: at(m("b"))}, &messages.ModelDraining{Attempt: 1, Reason: "makes room for b"})
	pc2.records[len(pc2.records)-1].Meta.Causation = main.records[len(main.records)-1].ID
	pc2.tell(at(m("a")), &messages.WorkerExited{Attempt: 1, Reason: "stopped"})
	followed(evicts, "b")
	ids(main, "main")
	ids(pc2, "pc2")
	for i := range pc2.records {
		if c := pc2.records[i].Meta.Causation; c != "" {
			pc2.records[i].Meta.Causation = "main" + c
		}
	}
	return main, pc2
}

// What happens to a model of pc2 because the arbiter of main_pc decided so names that decision and its host, from whichever host it is asked.
func TestADecisionOfAnotherHostIsNamed(t *testing.T) {
	main, pc2 := twoHosts()
	a, b := NewBook("main_pc", library(main.records)), NewBook("pc2", library(pc2.records))
	for from, books := range map[string][]*Book{"main_pc": {a, b}, "pc2": {b, a}} {
		for name, want := range map[string][]string{
			"a":      {"a is absent", "decision 5 of main_pc evicted it from sim0 for b"},
			"b":      {"b is ready on sim0", "Decision 5 of main_pc chose sim0", "(decision 10)"},
			"also-b": {"b is ready on sim0"}, // no view knows the model: only the journal of pc2 does
			"pc2/a":  {"a is absent"},
		} {
			q := Question{Subject: name, ID: name}
			if len(name) == 1 {
				q = Question{Subject: name, Model: messages.ModelActor("pc2", name)}
			}
			x, err := Why(t.Context(), q, main.present(), books...)
			if err != nil {
				t.Fatal(from, name, err)
			}
			for _, w := range want {
				if !strings.Contains(x.Summary, w) || x.Host != "pc2" {
					t.Errorf("%s from %s, about %s: %s", name, from, x.Host, x.Summary)
				}
			}
			inOrder(t, x)
		}
		// A placement's own story has facts of both journals.
		x, err := Why(t.Context(), Question{Subject: "p-a-1", ID: "p-a-1"}, main.present(), books...)
		if err != nil || !strings.Contains(x.Summary, "Decision 4 of main_pc at") || !strings.Contains(x.Summary, "Its worker ended: stopped.") || x.Host != "pc2" {
			t.Errorf("from %s: %v, %v", from, x, err)
		}
	}
	// The journal of pc2 alone knows of no decision.
	if x, err := Why(t.Context(), Question{Subject: "b", Model: messages.ModelActor("pc2", "b")}, main.present(), b); err != nil || !strings.Contains(x.Summary, "The journal holds no placement of it.") {
		t.Errorf("%v, %v", x, err)
	}
}

// inOrder checks that the decision of main_pc comes before what pc2 did for it, and says whose journal each reason is in.
func inOrder(t *testing.T, x *messages.Explanation) {
	t.Helper()
	decided, hosts := false, map[string]int{}
	for _, r := range x.Reasons {
		hosts[r.Host]++
		decided = decided || r.Event == "arbiter.placement_decided"
		if r.Event == "gpu.vram_reserved" && !decided {
			t.Errorf("the effect comes before its cause:\n%s", plain(x, nil))
		}
	}
	if hosts["main_pc"] == 0 || hosts["pc2"] == 0 || len(hosts) != 2 {
		t.Errorf("reasons by host: %v\n%s", hosts, plain(x, nil))
	}
}

// unreadable is a journal that can't be read.
type unreadable struct{ library }

func (unreadable) Replay(context.Context, uint64, uint64, func(messages.Recorded) error) error {
	return messages.NewError(messages.JournalDamaged, "pc2", "it can't be read")
}

// A copy that can't be read takes nothing from what other journals say, and is an error for models of its host.
func TestADamagedCopyIsLeftOut(t *testing.T) {
	s := twoLoaded()
	books := []*Book{NewBook("main_pc", library(s.records)), NewBook("pc2", unreadable{library(s.records)})}
	if x, err := Why(t.Context(), modelA, s.present(), books...); err != nil || !strings.Contains(x.Summary, "a is ready on sim0") {
		t.Errorf("%v, %v", x, err)
	}
	if _, err := Why(t.Context(), Question{Subject: "a", Model: messages.ModelActor("pc2", "a")}, s.present(), books...); messages.CodeOf(err) != messages.JournalDamaged {
		t.Errorf("%v", err)
	}
}
