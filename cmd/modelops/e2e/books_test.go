//go:build e2e

package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// placedByAnother has a model loaded on one host by the arbiter of the other.
func placedByAnother(t *testing.T) (seat, owner *daemon, arbiter, at, model string) {
	main, pc2 := pair(t, func(host string) string {
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {declare: {of_%s: %s}}\n", host, worker(t, ""))
	})
	main.until(startLimit, "both follow one arbiter that has taken over", func() bool {
		a, errA := main.control(t).GetCluster(t.Context(), nil)
		b, errB := pc2.control(t).GetCluster(t.Context(), nil)
		arbiter = a.GetArbiter()
		return errA == nil && errB == nil && arbiter == b.GetArbiter() && a.ArbiterEpoch > 0 && a.ArbiterEpoch == b.ArbiterEpoch && len(a.Members) == 2
	})
	seat, owner, at = main, pc2, "pc2"
	if arbiter == "pc2" {
		seat, owner, at = pc2, main, "main_pc"
	}
	model = "of_" + at
	if a := owner.post("/v1/chat/completions", chatBody(model, "")); a.status != 200 {
		t.Fatalf("%s", a)
	}
	return seat, owner, arbiter, at, model
}

// TestWhyAcrossHosts: each host explains the other's model, by the decision of the arbiter that placed it, at every door, and goes on after the
// other host was killed.
func TestWhyAcrossHosts(t *testing.T) {
	seat, owner, arbiter, at, model := placedByAnother(t)
	whys := func(d *daemon, host string) *messages.Explanation {
		x, err := d.control(t).Why(t.Context(), &messages.WhyRequest{Subject: model, Host: host})
		if err != nil {
			t.Logf("%s --host %q: %v", model, host, err)
		}
		return x
	}
	for _, d := range []*daemon{seat, owner} {
		for _, host := range []string{"", at} {
			d.until(startLimit, "the decision of the arbiter's host is named", func() bool {
				x := whys(d, host)
				return x.GetHost() == at && x.GetSaidBy() == at && strings.Contains(x.GetSummary(), model+" is ready on gpu0") && strings.Contains(x.GetSummary(), " of "+arbiter+" chose gpu0")
			})
		}
	}
	if out := seat.typed("why", model); !strings.Contains(out, "HOST") || !strings.Contains(out, arbiter+"  ") || !strings.Contains(out, at+"  ") {
		t.Error(out)
	}
	if a := seat.get("/why/" + model + "?host=" + at); a.status != 200 || !strings.Contains(string(a.body), " of "+arbiter+" chose") {
		t.Errorf("%s", a)
	}
	nc := seat.dial()
	defer nc.Close()
	if m, err := nc.Request("modelops.v1.why."+model, nil, startLimit); err != nil || !strings.Contains(string(m.Data), " of "+arbiter+" chose") {
		t.Errorf("%v, %v", m, err)
	}
	if o := seat.cli("why", model, "--host", arbiter); o.code == 0 {
		t.Errorf("%s doesn't have it: %s", arbiter, o)
	}

	seat.until(startLimit, "the copy is said to be even", func() bool {
		out := seat.typed("journal", "copies")
		return strings.Contains(out, "BEHIND") && strings.Contains(out, at+"  ") && !strings.Contains(out, "kept-")
	})
	if out := seat.typed("replay"); !strings.Contains(out, "equal: ") || !strings.Contains(out, "folded   model/"+at+"/"+model+" at sequence ") || !strings.Contains(out, " of the copy of the journal of "+at) {
		t.Error(out)
	}

	owner.kill()
	before := time.Now()
	seat.until(startLimit, "the copy answers", func() bool {
		x := whys(seat, "")
		return x.GetHost() == at && x.GetSaidBy() == arbiter && strings.HasPrefix(x.GetSummary(), at+" can't be reached. By its journal, which "+arbiter+" has up to decision ") &&
			strings.Contains(x.Summary, model+" is ready on gpu0") && strings.Contains(x.Summary, " chose gpu0")
	})
	x := whys(seat, at)
	if n := len(x.GetCopies()); n != 1 || x.Copies[0].Host != at || x.Copies[0].Copied == 0 || time.Duration(x.Copies[0].AgeMs)*time.Millisecond > time.Since(before)+startLimit {
		t.Errorf("%v", x)
	}
	seat.kill()
	seat.launch() // nobody tells it of the other host's models now: the copy does
	seat.until(startLimit, "the copy answers after a restart", func() bool {
		x := whys(seat, "")
		return x.GetHost() == at && strings.Contains(x.GetSummary(), "can't be reached. By its journal")
	})
}

// TestWatchAcrossHosts: each host tells of the decisions of both as they come, the arbiter's before what the other host did for it, as a stream and on
// the command line.
func TestWatchAcrossHosts(t *testing.T) {
	seat, owner, _, at, model := placedByAnother(t)
	printed := map[*daemon]string{seat: seat.printing("watch"), owner: owner.printing("journal", "tail", "-n", "0", "-f")}
	for _, d := range []*daemon{seat, owner} {
		ctx, end := context.WithCancel(t.Context())
		defer end()
		resp, err := d.send(ctx, "GET", "/api/watch", nil, "Accept", "text/event-stream")
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		defer resp.Body.Close()
		in := bufio.NewScanner(resp.Body)
		in.Buffer(nil, 1<<20)
		in.Scan() // the stream has begun
		if _, err := owner.control(t).UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: model}); err != nil {
			t.Fatal(err)
		}
		owner.awaitPhase(model, "absent")
		if a := owner.post("/v1/chat/completions", chatBody(model, "")); a.status != 200 {
			t.Fatalf("%s", a)
		}
		decided, before := "", "" // a copy may still bring the end of the load before, and on a busy machine the hosts part for a moment and another decides
		for in.Scan() {
			body, ok := strings.CutPrefix(in.Text(), "data: ")
			if !ok {
				continue
			}
			var e struct {
				Host, ID, Actor string
				Events          []struct{ Name string }
			}
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatal(err, body)
			}
			for _, ev := range e.Events {
				switch ev.Name {
				case "arbiter.placement_decided":
					if decided = e.ID; !strings.Contains(body, `"arbiter":"`+e.Host+`"`) || strings.Contains(before, decided) {
						t.Errorf("%s decided: %s\nafter\n%s", e.Host, body, before)
					}
				case "gpu.vram_reserved", "model.load_started":
					if before += body + "\n"; e.Host != at {
						t.Errorf("%s at another host: %s", ev.Name, body)
					}
				}
			}
			if decided != "" && e.Actor == "model/"+at+"/"+model && strings.Contains(body, "model.ready") {
				break
			}
		}
		if err := in.Err(); err != nil || decided == "" {
			t.Errorf("decided %q, %v", decided, err)
		}
	}
	for d, file := range printed {
		text, decision := "", -1
		d.until(startLimit, "the command line prints a whole load", func() bool {
			_, _ = owner.control(t).UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: model})
			owner.post("/v1/chat/completions", chatBody(model, ""))
			b, err := os.ReadFile(file)
			text = string(b)
			decision = strings.Index(text, "arbiter.placement_decided ")
			return err == nil && decision >= 0 && strings.Contains(text[decision:], "model.ready ")
		})
		line := text[strings.LastIndex(text[:decision], "\n")+1:]
		_, id, _ := strings.Cut(line, `"id":"`)
		id, _, _ = strings.Cut(id, `"`)
		if reserved := strings.Index(text, `"lease":"`+id+`","holder"`); reserved < decision || !saysItsArbiter(line) {
			t.Errorf("it printed\n%s", text)
		}
	}
	for line := range strings.Lines(seat.typed("journal", "tail", "-n", "500", "--type", "arbiter.placement_decided")) {
		if !saysItsArbiter(line) {
			t.Errorf("%s", line)
		}
	}
}

// saysItsArbiter tells whether a printed line begins with the host whose arbiter made the decision in it.
func saysItsArbiter(line string) bool {
	host, _, _ := strings.Cut(line, "  ")
	return strings.Contains(line, `"arbiter":"`+host+`"`)
}

// printing runs a command until the test ends. What it prints goes to a file.
func (d *daemon) printing(args ...string) (file string) {
	d.t.Helper()
	out, err := os.Create(filepath.Join(d.t.TempDir(), "printed"))
	if err != nil {
		d.t.Fatal(err)
	}
	c := exec.CommandContext(d.t.Context(), d.binary, append(args, "--config", filepath.Join(d.dir, "cluster.yaml"))...)
	c.Env, c.Stdout, c.Stderr = d.environ(), out, out
	if err := c.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _, _ = c.Process.Kill(), c.Wait(); _ = out.Close() })
	return out.Name()
}

// joined is two hosts that became a cluster by the commands that people type, with certificates.
func joined(t *testing.T, sections func(host string) string) (main, pc2 *daemon) {
	main, pc2 = hostOf(t, "main_pc", sections("main_pc")), hostOf(t, "pc2", sections("pc2"))
	main.typed("cluster", "init")
	main.launch()
	r := main.invites("--host", "pc2")
	pc2.args = []string{"--join", r.Address, "--token", r.Token}
	pc2.launch()
	return main, pc2
}

// copyOf is how far a host's copy of another one's journal is.
func (d *daemon) copyOf(host string) (copied, told uint64) {
	v, err := d.control(d.t).GetCluster(d.t.Context(), nil)
	if err != nil {
		return 0, 0
	}
	for _, m := range v.Members {
		if m.Host == host {
			return m.Copied, m.Sequence
		}
	}
	return 0, 0
}

// TestALostDiskComesBack: the whole data directory of main_pc is lost. The steps of docs/cluster.md make it a member again and bring its journal back
// from pc2, and what pc2 had heard of and not copied is named as lost.
func TestALostDiskComesBack(t *testing.T) {
	main, pc2 := joined(t, func(host string) string {
		if host != "main_pc" {
			return ""
		}
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {declare: {it: %s}}\n", worker(t, ""))
	})
	if a := main.post("/v1/chat/completions", chatBody("it", "")); a.status != 200 {
		t.Fatalf("%s", a)
	}
	main.typed("pin", "it", "--owner", "ops")
	before := main.typed("why", "it")
	var had uint64
	pc2.until(startLimit, "pc2 has the whole journal", func() bool {
		s, err := main.control(t).GetStatus(t.Context(), &emptypb.Empty{})
		copied, _ := pc2.copyOf("main_pc")
		had = copied
		return err == nil && s.JournalSequence == copied
	})

	worker := main.model("it").GetWorker().GetPid()
	main.kill()
	if err := os.RemoveAll(main.state()); err != nil {
		t.Fatal(err)
	}
	pc2.kill()
	told := filepath.Join(pc2.state(), "peers", "main_pc", "told")
	if err := os.WriteFile(told, fmt.Appendln(nil, had+3), 0o644); err != nil { // as when the last three heartbeats came and their decisions didn't
		t.Fatal(err)
	}
	pc2.launch()
	if o := main.cli("restore", "main_pc", "--from", "pc2"); o.code == 0 || !strings.Contains(o.err, "modelops cluster invite on pc2") {
		t.Errorf("without certificates: %s", o)
	}
	pc2.typed("cluster", "remove", "main_pc")
	r := pc2.invites("--host", "main_pc")
	out := main.typed("restore", "main_pc", "--from", "pc2", "--join", r.Address, "--token", r.Token)
	if want := fmt.Sprintf("holds sequences 1 to %d; sequences %d to %d are lost", had, had+1, had+3); !strings.Contains(out, want) {
		t.Errorf("%s\nwant %s", out, want)
	}
	main.typed("journal", "verify")

	main.launch()
	main.awaitAnswer("it")
	after := main.typed("journal", "tail", "-n", "1000", "--host", "main_pc")
	if !strings.Contains(after, "\n1  ") && !strings.HasPrefix(after, "1  ") || !strings.Contains(after, fmt.Sprintf("\n%d  ", had+1)) {
		t.Errorf("the journal doesn't go on behind %d:\n%s", had, after)
	}
	if v := main.model("it"); v.GetPinnedBy() != "ops" {
		t.Errorf("the pin is lost: %v", v)
	}
	if now := main.typed("why", "it"); !strings.Contains(now, "pinned by ops") || !strings.Contains(before, "pinned by ops") {
		t.Errorf("why says\n%s\nand said\n%s", now, before)
	}
	pc2.until(startLimit, "pc2 goes on with the same copy", func() bool {
		copied, _ := pc2.copyOf("main_pc")
		return copied > had
	})
	if kept, _ := filepath.Glob(filepath.Join(pc2.state(), "peers", "main_pc", "kept-*")); len(kept) > 0 {
		t.Errorf("the copy was set aside: %v", kept)
	}
	main.until(startLimit, "the worker of before is the model's, or has ended", func() bool {
		return main.model("it").GetWorker().GetPid() == worker || syscall.Kill(int(worker), 0) != nil
	})
}

// awaitAnswer waits until a model answers.
func (d *daemon) awaitAnswer(model string) {
	d.t.Helper()
	d.until(startLimit, model+" answers", func() bool { return d.post("/v1/chat/completions", chatBody(model, "")).status == 200 })
}
