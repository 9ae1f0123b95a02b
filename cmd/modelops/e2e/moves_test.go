//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"modelops/journal"
	"modelops/messages"
)

// llama is a model that llama-server serves, as a line of the section models.declare; it is said to need so many MB. more are further lines of its declaration.
func llama(name string, mb int, more ...string) string {
	out := fmt.Sprintf("    %s:\n      path: %s\n      runtime: llama.cpp\n      vram_mb: %d\n      context_length: 256\n      parallel: 1\n      min_residency: 0s\n", name, tiny(), mb)
	for _, line := range more {
		out += "      " + line + "\n"
	}
	return out
}

// both starts two hosts with a device of 24000 MB each and what each declares, and waits until they follow one arbiter and know each other's models.
func both(t *testing.T, declared func(host string) string, known ...string) (main, pc2 *daemon) {
	t.Helper()
	main, pc2 = pair(t, func(host string) string { return labDevices(declared(host)) })
	main.until(waitLimit, "both hosts follow one arbiter, and know each other's models", func() bool {
		a, b := main.cluster(), pc2.cluster()
		return a.GetArbiter() != "" && a.GetArbiter() == b.GetArbiter() && a.GetArbiterEpoch() > 0 && a.GetArbiterEpoch() == b.GetArbiterEpoch() &&
			main.sees("pc2").State == messages.MemberView_alive && pc2.sees("main_pc").State == messages.MemberView_alive &&
			!slices.ContainsFunc(known, func(name string) bool { return main.modelOf("pc2", name).Id == "" || pc2.modelOf("pc2", name).Id == "" })
	})
	return main, pc2
}

// journalled are the events of an actor in a host's journal, with the caller of each decision.
func (d *daemon) journalled(actor messages.ActorID, do func(messages.Recorded)) {
	d.t.Helper()
	nc := d.dial()
	defer nc.Close()
	if err := journalOf(d.at.Host, nc).Replay(d.t.Context(), journal.Query{Actor: actor}, func(r messages.Recorded) error { do(r); return nil }); err != nil {
		d.t.Fatal(err)
	}
}

// starts is how often a host began to load a model.
func (d *daemon) starts(model string) (n int) {
	d.journalled(messages.ModelActor(d.at.Host, model), func(r messages.Recorded) {
		for _, e := range r.Events {
			if _, ok := e.(*messages.ModelLoadStarted); ok {
				n++
			}
		}
	})
	return n
}

// TestAModelMovesToTheOtherHost: chat is idle on main_pc where large has to be loaded, and pc2 has room for it: it is loaded there, its next request finds it, and both
// hosts say why. When pc2 is needed in turn, it isn't moved again: it is evicted.
func TestAModelMovesToTheOtherHost(t *testing.T) {
	t.Setenv("LLAMA_SERVER", llamaServer(t))
	main, pc2 := both(t, func(host string) string {
		if host == "pc2" {
			return llama("chat", 10000) + llama("theirs", 20000)
		}
		return llama("chat", 10000) + llama("large", 20000)
	}, "chat")
	asked := func(d *daemon, model string) {
		t.Helper()
		if a := d.post("/v1/chat/completions", question(model, france, "max_tokens", 4)); a.status != 200 {
			t.Fatalf("%s at %s: %s", model, d.at.Host, a)
		}
	}
	if r := main.cli("load", "chat", "--host", "main_pc"); r.code != 0 {
		t.Fatal(r)
	}
	asked(main, "chat")
	asked(main, "large")
	main.until(waitLimit, "chat is ready on pc2", func() bool { return main.readyAt("pc2", "chat") && pc2.readyAt("pc2", "chat") })
	if here, large := main.modelOf("main_pc", "chat").Phase, main.modelOf("main_pc", "large").Phase; here != messages.ModelView_absent || large != messages.ModelView_ready {
		t.Errorf("on main_pc chat is %s and large is %s", here, large)
	}
	asked(main, "chat")
	asked(pc2, "chat")
	if here, there := main.starts("chat"), pc2.starts("chat"); here != 1 || there != 1 {
		t.Errorf("chat was loaded %d times on main_pc and %d times on pc2", here, there)
	}
	const sums = "which had 23488 MiB free for the 10000 MiB that it held"
	for subject, words := range map[string][]string{
		"model/main_pc/chat":  {"evicted it from gpu0 for large", "it moves to gpu0 of pc2, " + sums},
		"model/pc2/chat":      {"chat is ready on gpu0", "it moves from main_pc, where large needs the memory; it held 10000 MiB there, and gpu0 had 22.9 GiB free here"},
		"model/main_pc/large": {"Of those that leave, chat moves to gpu0 of pc2, " + sums},
	} {
		for _, d := range []*daemon{main, pc2} {
			said := strings.Join(strings.Fields(d.typed("why", subject)), " ")
			for _, w := range words {
				if !strings.Contains(said, w) {
					t.Errorf("why %s on %s doesn't say %q:\n%s", subject, d.at.Host, w, said)
				}
			}
		}
	}
	if n := main.metric("modelops_model_moves_total", `model="chat"`) + pc2.metric("modelops_model_moves_total", `model="chat"`); n != 1 {
		t.Errorf("%v moves are counted", n)
	}
	if r := main.cli("unload", "large"); r.code != 0 {
		t.Fatal(r)
	}
	asked(pc2, "theirs")
	asked(pc2, "chat")
	if here, there := main.starts("chat"), pc2.starts("chat"); here != 2 || there != 1 {
		t.Errorf("after it had to leave again chat was loaded %d times on main_pc and %d times on pc2", here, there)
	}
	if n := main.metric("modelops_model_moves_total", `model="chat"`) + pc2.metric("modelops_model_moves_total", `model="chat"`); n != 1 {
		t.Errorf("%v moves are counted: it moved back", n)
	}
	c := cluster{}
	for _, d := range []*daemon{main, pc2} {
		if err := journalOf(d.at.Host, d.nats()).Replay(t.Context(), journal.Query{}, func(r messages.Recorded) error { c.take(d.at.Host, r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range c.wrong {
		t.Error(w)
	}
}

// TestPreferFirst: a model that prefers the first of its hosts runs there, wherever it is asked for, and on the other one when the first is full of what can't leave.
func TestPreferFirst(t *testing.T) {
	t.Setenv("LLAMA_SERVER", llamaServer(t))
	main, pc2 := both(t, func(host string) string {
		out := llama("there", 4000, "hosts: [pc2, main_pc]", "prefer: first") + llama("here", 4000, "hosts: [main_pc, pc2]", "prefer: first") + llama("over", 10000, "hosts: [pc2, main_pc]", "prefer: first")
		if host == "pc2" {
			out += llama("kept", 14000, "pinned: true")
		}
		return out
	}, "there", "here", "over")
	for _, c := range []struct {
		at    *daemon
		model string
		host  string
	}{{pc2, "kept", "pc2"}, {main, "there", "pc2"}, {pc2, "here", "main_pc"}, {pc2, "over", "main_pc"}} {
		a := c.at.post("/v1/chat/completions", question(c.model, france, "max_tokens", 4))
		if got := a.header.Get(messages.HostHeader); a.status != 200 || got != c.host {
			t.Errorf("%s, asked for at %s, was answered by %q: %s", c.model, c.at.at.Host, got, a)
		}
	}
	if said := main.typed("why", "model/pc2/there"); !strings.Contains(said, "comes first in the model's order of hosts") {
		t.Errorf("why there:\n%s", said)
	}
}

// TestPreferIdle: a model that prefers the idle host goes where nothing runs, whichever of the two that is, also when less memory is free there.
func TestPreferIdle(t *testing.T) {
	main, pc2 := both(t, func(host string) string {
		return plays(t, "one", "", "vram_mb: 2000", "prefer: idle") + plays(t, "two", "", "vram_mb: 2000", "prefer: idle") + plays(t, "work-"+host, "", "vram_mb: 2000") +
			plays(t, "filler-"+host, "", fmt.Sprint("vram_mb: ", map[string]int{"main_pc": 18000, "pc2": 8000}[host]))
	}, "one", "two")
	for _, c := range []struct {
		model      string
		busy, idle *daemon
	}{{"one", main, pc2}, {"two", pc2, main}} {
		model, busy, idle := c.model, c.busy, c.idle
		idle.says("filler-"+idle.at.Host, "filler-"+idle.at.Host)
		answer, release := busy.asksHeld(t, "work-"+busy.at.Host)
		busy.until(waitLimit, "it is busy", func() bool { return busy.holding("work-"+busy.at.Host) == 1 })
		// The arbiter may be the other host's: it has to have heard.
		main.until(waitLimit, "both know", func() bool {
			row := func(d *daemon) bool { return len(d.queue("--host", busy.at.Host)) == 1 }
			return row(main) && row(pc2)
		})
		busy.until(waitLimit, "the other host has been told what runs here", func() bool {
			return idle.modelOf(busy.at.Host, "work-"+busy.at.Host).Active == 1
		})
		a := busy.post("/v1/chat/completions", question(model, france))
		if got := a.header.Get(messages.HostHeader); a.status != 200 || got != idle.at.Host {
			t.Errorf("%s was answered by %q while %s is busy: %s", model, got, busy.at.Host, a)
		}
		release()
		if a := <-answer; a.status != 200 {
			t.Errorf("the work: %s", a.answer)
		}
	}
}

// TestPreferFastest: a model that prefers the fastest host goes where it loaded sooner, whichever has its name first, and to the one where it has loaded rather than to
// one of which nothing is known.
func TestPreferFastest(t *testing.T) {
	main, pc2 := both(t, func(host string) string {
		load := map[string]string{"main_pc": "--load 3s", "pc2": "--load 300ms"}[host]
		return plays(t, "measured", load, "vram_mb: 2000", "prefer: fastest") + plays(t, "known", load, "vram_mb: 2000", "prefer: fastest")
	}, "measured", "known")
	for _, c := range []struct {
		d      *daemon
		models []string
	}{{main, []string{"measured"}}, {pc2, []string{"measured", "known"}}} {
		for _, name := range c.models {
			if r := c.d.cli("load", name, "--host", c.d.at.Host); r.code != 0 {
				t.Fatal(r)
			}
			if r := c.d.cli("unload", name, "--host", c.d.at.Host); r.code != 0 {
				t.Fatal(r)
			}
		}
	}
	for _, name := range []string{"measured", "known"} {
		a := main.post("/v1/chat/completions", question(name, france))
		if got := a.header.Get(messages.HostHeader); a.status != 200 || got != "pc2" {
			t.Errorf("%s was answered by %q: %s", name, got, a)
		}
	}
}
