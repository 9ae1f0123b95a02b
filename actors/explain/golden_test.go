package explain

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

var update = flag.Bool("update", false, "write the golden explanations anew")

func modelOf(name string, s *tale) (*messages.Explanation, error) {
	return whyModel(messages.ModelActor("main_pc", name), s.records, s.present())
}

// twoLoaded has a on sim0 and b on sim1.
func twoLoaded() *tale {
	s := newTale().devices()
	for _, name := range []string{"a", "b", "c"} {
		s.declare(name, &messages.ModelSpec{VramBytes: 12000 * mb})
	}
	s.tell(m("a"), &messages.ModelWanted{Reason: "asked to load it", Attempt: 1})
	s.load(decided("a", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen), weighed("sim1", 0, 12000)), 1)
	s.tell(m("b"), &messages.ModelWanted{Reason: "a request waits for it", Attempt: 1})
	return s.load(decided("b", 1, "sim1", messages.Need_estimated, weighed("sim0", 12000, 12000, leaves(0.15, out("a", 12000, 1600, 1300))), weighed("sim1", 0, 12000, chosen)), 1)
}

// evicted has c on sim0, where a was.
func evicted() *tale {
	s := twoLoaded()
	s.tell(m("c"), &messages.ModelWanted{Reason: "a request waits for it", Attempt: 1})
	d := decided("c", 1, "sim0", messages.Need_measured, weighed("sim0", 12000, 12000, chosen, leaves(0.0777, out("a", 12000, 12000, 1300))),
		weighed("sim1", 12000, 12000, leaves(0.183, out("b", 12000, 1700, 1300))))
	s.tell("arbiter", d)
	s.evict("a", "p-c-1", m("c"), "sim0", "p-a-1")
	s.tell(dev("sim0"), &messages.VramReserved{Lease: "p-c-1", Holder: m("c"), Bytes: 12000 * mb})
	s.tell(m("c"), &messages.ModelLoadStarted{Attempt: 1, Placement: d.Placement})
	return s.tell(m("c"), &messages.ModelReady{Attempt: 1, MeasuredBytes: 12100 * mb, Slots: 4, LoadMs: 900})
}

// waiting has d wait: a is pinned, b is busy, and a program holds the rest of sim1.
func waiting() *tale {
	s := twoLoaded().declare("d", &messages.ModelSpec{VramBytes: 20000 * mb})
	s.tell(m("a"), &messages.ModelPinned{Owner: "ops"})
	s.tell(dev("sim1"), &messages.VramReserved{Lease: "sim1_1", Holder: "client/train", Bytes: 8000 * mb, TtlSeconds: 30})
	s.tell(m("d"), &messages.ModelWanted{Reason: "a request waits for it", Attempt: 1})
	full := refused("full: needs 19.5 GiB; 1 resident, of which 1 busy and 0 pinned")
	return s.tell("arbiter", &messages.PlacementPostponed{Holder: m("d"), Claim: "1", Reason: "gpu/main_pc/sim0 full; gpu/main_pc/sim1 full",
		Candidates: []*messages.Candidate{weighed("sim0", 12000, 20000, refused("full: needs 19.5 GiB; 1 resident, of which 0 busy and 1 pinned")), weighed("sim1", 20000, 20000, full)}})
}

// pinnedGroup has c absent, of whose group a is pinned.
func pinnedGroup(until int64) *tale {
	s := newTale().devices()
	for _, name := range []string{"a", "c"} {
		s.declare(name, &messages.ModelSpec{VramBytes: 1000 * mb, Groups: []string{"g"}})
	}
	s.tell(m("a"), &messages.ModelWanted{Reason: "asked to load it", Attempt: 1})
	s.load(decided("a", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 1000, chosen)), 1)
	return s.tell(m("a"), &messages.ModelPinned{Owner: "ops", UntilMs: until})
}

// tooLarge has e fail: it fits sim0 only above the soft limit, and sim1 never.
func tooLarge() *tale {
	s := newTale()
	s.tell(dev("sim0"), &messages.DeviceRegistered{CapacityBytes: 48000 * mb, MarginBytes: 512 * mb, SoftLimitBytes: 20000 * mb})
	s.tell(dev("sim1"), &messages.DeviceRegistered{CapacityBytes: 24000 * mb, MarginBytes: 512 * mb})
	s.declare("e", &messages.ModelSpec{VramBytes: 30000 * mb})
	s.tell(m("e"), &messages.ModelWanted{Reason: "preload", Attempt: 1})
	return s.tell(m("e"), &messages.LoadFailed{Attempt: 1, Error: &messages.ErrorBody{Code: "GPU_UNAVAILABLE", Subject: m("e"),
		Message: "Insufficient GPU memory: required 30000MB, available 23488MB; gpu/main_pc/sim0 never fits", Hint: "it fits no device here"}})
}

// failing has f crash while it loads, once with a try left and twice for good.
func failing(times int) *tale {
	s := newTale().devices().declare("f", &messages.ModelSpec{})
	for n := range uint64(times) {
		s.tell(m("f"), &messages.ModelWanted{Reason: "asked to load it", Attempt: n + 1})
		d := decided("f", n+1, "sim0", messages.Need_estimated, weighed("sim0", 0, 3000, chosen))
		s.tell("arbiter", d)
		s.tell(dev("sim0"), &messages.VramReserved{Lease: d.Placement.Shares[0].Lease, Holder: m("f"), Bytes: 3000 * mb})
		s.tell(m("f"), &messages.ModelLoadStarted{Attempt: n + 1, Placement: d.Placement})
		failed := &messages.LoadFailed{Attempt: n + 1, RetryMs: 2000, OutOfMemory: n == 0,
			Error: &messages.ErrorBody{Code: "MODEL_LOAD_ERROR", Message: "the worker died young: exit status 1", Hint: "modelops logs f", LogFile: "f.log"}}
		if n == 2 {
			failed.RetryMs = 0
		}
		s.tell(m("f"), &messages.WorkerExited{Attempt: n + 1, ExitCode: 1, Reason: "exit status 1", LogFile: "other.log"}, failed)
		s.tell(dev("sim0"), &messages.VramReleased{Lease: d.Placement.Shares[0].Lease, Reason: "its worker is gone"})
	}
	return s
}

func lost() *tale {
	s := waiting()
	s.tell(dev("sim1"), &messages.DeviceLost{Reason: "GPU has fallen off the bus"})
	s.tell(m("d"), &messages.ModelWanted{Reason: "a request waits for it", Attempt: 2})
	return s.tell("arbiter", &messages.PlacementPostponed{Holder: m("d"), Claim: "2", Reason: "a has waited longer, for 40s", Candidates: []*messages.Candidate{
		weighed("sim0", 0, 20000), weighed("sim1", 20000, 20000, refused("the device is lost: GPU has fallen off the bus"))}})
}

func relieved() *tale {
	s := twoLoaded()
	s.tell("arbiter", &messages.PressureRelieved{Gpu: dev("sim0"), Reason: "22000 MiB of 23488 MiB used, threshold 20000 MiB", Victims: []*messages.Victim{out("a", 12000, 90000, 1300)}})
	id := reliefID(uint64(len(s.records)))
	s.tell(m("a"), &messages.ModelUnwanted{Reason: "its device is short of memory", Placement: id}, &messages.ModelDraining{Attempt: 1, Reason: "its device is short of memory"})
	return s.tell(m("a"), &messages.WorkerExited{Attempt: 1, Reason: "stopped"})
}

// swapped has the first decisions of a rollout of chat from a to b happen.
func swapped(n int) *tale {
	s := twoLoaded()
	for _, e := range []proto.Message{
		&messages.RolloutStarted{Id: "s1", Name: "chat", From: "a", To: "b", Declared: "a", CanaryPct: 10, MinRequests: 20, JudgeSeconds: 60, MaxErrorPct: 5},
		&messages.RolloutCanaried{Id: "s1"}, &messages.RolloutPromoted{Id: "s1", Reason: "1 of 20 requests failed, up to 5 % may"}, &messages.RolloutSettled{Id: "s1", Model: "a"},
	}[:n] {
		s.tell("host/main_pc", e)
	}
	return s
}

func leased(end proto.Message) *tale {
	s := newTale().devices()
	s.tell(dev("sim0"), &messages.VramReserved{Lease: "sim0_9", Holder: "client/train", Bytes: 4096 * mb, TtlSeconds: 30})
	if end != nil {
		s.wait(40 * time.Second)
		s.tell(dev("sim0"), end)
	}
	return s
}

func asked(s *tale, r Request) (*messages.Explanation, error) {
	r.ID, r.Asked, r.Sent = "r1", "c", max(r.Sent, 1)
	if r.Code != messages.ModelNotFound {
		r.Model = messages.ModelActor("main_pc", "c")
	}
	return why(Question{Subject: "r1", ID: "r1", Model: r.Model, Request: &r}, s.records, s.present())
}

// cases are explanations by the names of their files.
type cases map[string]func() (*messages.Explanation, error)

func ofModels() cases {
	idle := func(s *tale) *tale {
		s.tell(m("a"), &messages.ModelUnwanted{Reason: "its idle time is over"}, &messages.ModelDraining{Attempt: 1, Reason: "its idle time is over"})
		return s.tell(m("a"), &messages.WorkerExited{Attempt: 1, Reason: "stopped"})
	}
	return cases{
		"model-ready":            func() (*messages.Explanation, error) { return modelOf("a", twoLoaded()) },
		"model-ready-by-victims": func() (*messages.Explanation, error) { return modelOf("c", evicted()) },
		"model-evicted":          func() (*messages.Explanation, error) { return modelOf("a", evicted()) },
		"model-relieved":         func() (*messages.Explanation, error) { return modelOf("a", relieved()) },
		"model-idle":             func() (*messages.Explanation, error) { return modelOf("a", idle(twoLoaded())) },
		"model-waits":            func() (*messages.Explanation, error) { return modelOf("d", waiting()) },
		"model-waits-its-turn":   func() (*messages.Explanation, error) { return modelOf("d", lost()) },
		"model-waits-for-loads": func() (*messages.Explanation, error) {
			s := newTale().devices().declare("c", &messages.ModelSpec{}).tell(m("c"), &messages.ModelWanted{Reason: "preload", Attempt: 1})
			return modelOf("c", s.tell("arbiter", &messages.PlacementPostponed{Holder: m("c"), Claim: "1", Reason: "2 models load already, at most 2 at a time"}))
		},
		"model-never-fits": func() (*messages.Explanation, error) { return modelOf("e", tooLarge()) },
		"model-too-large": func() (*messages.Explanation, error) {
			s := newTale()
			s.tell(dev("sim0"), &messages.DeviceRegistered{Kind: "simulated", CapacityBytes: 48000 * mb, MarginBytes: 512 * mb, SoftLimitBytes: 20000 * mb})
			s.tell(dev("sim1"), &messages.DeviceRegistered{Kind: "simulated", CapacityBytes: 24000 * mb, MarginBytes: 512 * mb})
			return modelOf("e", s.declare("e", &messages.ModelSpec{VramBytes: 30000 * mb}))
		},
		"model-held-by-pins": func() (*messages.Explanation, error) { return modelOf("c", pinnedGroup(0)) },
		"model-held-by-pins-for-a-time": func() (*messages.Explanation, error) {
			return modelOf("c", pinnedGroup(start.Add(time.Hour).UnixMilli()))
		},
		"model-held-by-pins-of-memory": func() (*messages.Explanation, error) {
			s := twoLoaded()
			s.tell(m("a"), &messages.ModelPinned{Owner: "ops"})
			s.tell(m("b"), &messages.ModelPinned{Owner: "eve", UntilMs: start.Add(time.Hour).UnixMilli()})
			return modelOf("c", s)
		},
		"model-retries":      func() (*messages.Explanation, error) { return modelOf("f", failing(1)) },
		"model-failed":       func() (*messages.Explanation, error) { return modelOf("f", failing(3)) },
		"model-never-wanted": func() (*messages.Explanation, error) { return modelOf("c", twoLoaded()) },
		"model-tried":        func() (*messages.Explanation, error) { return modelOf("b", swapped(2)) },
		"model-swapped-in":   func() (*messages.Explanation, error) { return modelOf("b", swapped(3)) },
		"model-swapped-out":  func() (*messages.Explanation, error) { return modelOf("a", swapped(4)) },
		"model-not-swapped": func() (*messages.Explanation, error) {
			s := swapped(2)
			return modelOf("b", s.tell("host/main_pc", &messages.RolloutRolledBack{Id: "s1", Reason: "3 of 20 requests failed, at most 5 % may"}))
		},
		"model-retired": func() (*messages.Explanation, error) {
			return modelOf("c", twoLoaded().tell(m("c"), &messages.ModelRetired{Reason: "the configuration declares it no more"}))
		},
	}
}

func ofOthers() cases {
	shared := func() *tale {
		s := evicted()
		s.records[21].Meta.Correlation = "r1"
		return s
	}
	return cases{
		"placement": func() (*messages.Explanation, error) {
			s := evicted()
			return whyID("p-c-1", s.records, s.present())
		},
		"placement-relief": func() (*messages.Explanation, error) {
			s := relieved()
			return whyID("relief/22", s.records, s.present())
		},
		"placement-refused": func() (*messages.Explanation, error) {
			s := newTale().devices().tell("arbiter", decided("c", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen)))
			s.tell("arbiter", &messages.PlacementRefused{Id: "p-c-1", Error: &messages.ErrorBody{Code: "GPU_UNAVAILABLE", Message: "Insufficient GPU memory: required 12000MB, available 9000MB"}})
			return whyID("p-c-1", s.records, s.present())
		},
		"lease-held": func() (*messages.Explanation, error) {
			s := leased(nil)
			return whyID("sim0_9", s.records, s.present())
		},
		"lease-expired": func() (*messages.Explanation, error) {
			s := leased(&messages.LeaseExpired{Lease: "sim0_9"})
			return whyID("sim0_9", s.records, s.present())
		},
		"lease-released": func() (*messages.Explanation, error) {
			s := leased(&messages.VramReleased{Lease: "sim0_9", Reason: "released by its holder"})
			return whyID("sim0_9", s.records, s.present())
		},
		"lease-placed": func() (*messages.Explanation, error) {
			s := newTale().devices()
			p := decided("x", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 100, chosen), weighed("sim1", 0, 100))
			p.Placement.Holder, p.Placement.Claim = "client/train", messages.ByName
			s.tell("arbiter", p)
			s.tell(dev("sim0"), &messages.VramReserved{Lease: p.Placement.Id, Holder: "client/train", Bytes: 100 * mb, TtlSeconds: 60})
			s.tell("arbiter", &messages.PlacementClosed{Id: p.Placement.Id, Reason: "taken over by client/train"})
			return whyID(p.Placement.Id, s.records, s.present())
		},
		"request-caused-a-placement": func() (*messages.Explanation, error) {
			s := newTale().devices().declare("c", &messages.ModelSpec{VramBytes: 12000 * mb})
			full := &messages.PlacementPostponed{Holder: "model/*/c", Claim: messages.ByName, Reason: "full", Candidates: []*messages.Candidate{weighed("sim0", 12000, 12000, refused("full"))}}
			s.caused("r1", "arbiter", full)
			d := decided("c", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen))
			d.Placement.Claim = messages.ByName
			s.load(d, 1)
			r := Request{ID: "r1", Asked: "c", Model: messages.ModelActor("main_pc", "c"), Began: s.records[3].At.Add(-time.Second), Granted: s.now, URL: "http://127.0.0.1:5000"}
			return why(Question{Subject: "r1", ID: "r1", Model: r.Model, Request: &r}, s.records, s.present())
		},
		"request-woke-its-model": func() (*messages.Explanation, error) {
			s := shared()
			return asked(s, Request{Began: s.records[20].At.Add(500 * time.Millisecond), Granted: s.now.Add(5 * time.Millisecond), Ended: s.now.Add(2 * time.Second),
				Position: 1, URL: "http://127.0.0.1:5000", Pid: 4242})
		},
		"request-forgotten": func() (*messages.Explanation, error) {
			s := shared()
			return whyID("r1", s.records, s.present())
		},
		"request-waits": func() (*messages.Explanation, error) {
			s := waiting()
			r := Request{ID: "r2", Asked: "d", Model: messages.ModelActor("main_pc", "d"), Began: s.now.Add(-1500 * time.Millisecond)}
			return why(Question{Subject: "r2", ID: "r2", Model: r.Model, Request: &r}, s.records, s.present())
		},
		"request-refused": func() (*messages.Explanation, error) {
			s := evicted()
			return asked(s, Request{Began: s.now, Ended: s.now, Code: messages.BulkheadRejection, Refusal: "64 requests wait already"})
		},
		"request-unknown-model": func() (*messages.Explanation, error) {
			s := evicted()
			return asked(s, Request{Began: s.now, Ended: s.now, Code: messages.ModelNotFound, Refusal: "Model 'c' not found", Sent: 3})
		},
		"request-runs": func() (*messages.Explanation, error) {
			s := evicted()
			return asked(s, Request{Began: s.now, Granted: s.now, URL: "http://127.0.0.1:5000"})
		},
		"unknown": func() (*messages.Explanation, error) { s := evicted(); return whyID("nothing", s.records, s.present()) },
	}
}

func TestGolden(t *testing.T) {
	all := ofModels()
	maps.Copy(all, ofOthers())
	for name, of := range all {
		t.Run(name, func(t *testing.T) {
			got := plain(of())
			path := filepath.Join("..", "..", "testdata", "explain", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v; go test ./actors/explain -update writes it", err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
