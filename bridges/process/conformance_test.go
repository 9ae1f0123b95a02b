package process

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kept is a process with what must be known of it.
type kept struct {
	spec  Spec
	h     Handle
	owner *Supervisor // its parent
	alive bool
}

// farm does random things to some processes with several supervisors, and compares with what must come out.
type farm struct {
	t           *testing.T
	rand        *rand.Rand
	supervisors []*Supervisor
	all         []*kept
}

// Whatever order starts, ends and restarts of the coordinator come in: every supervisor gives the same answer about every
// process, an end takes along all that the process started, and nothing is left at last.
func TestSupervisorsAgree(t *testing.T) {
	for seed := range uint64(4) {
		f := &farm{t: t, rand: rand.New(rand.NewPCG(seed, 0)), supervisors: []*Supervisor{New(Options{})}}
		for step := range 12 {
			f.step()
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
		for _, k := range f.all {
			if err := f.any().Stop(t.Context(), k.h, 0, nil); err != nil {
				t.Error(err)
			}
			k.alive = false
			f.check(k)
		}
	}
}

func (f *farm) any() *Supervisor { return f.supervisors[f.rand.IntN(len(f.supervisors))] }

func (f *farm) step() {
	what := f.rand.IntN(7)
	if len(f.all) == 0 {
		what = 0
	}
	k := &kept{}
	if what > 0 {
		k = f.all[f.rand.IntN(len(f.all))]
	}
	switch what {
	case 0:
		f.start()
		return
	case 1: // the coordinator is started again: it is no longer the parent
		f.supervisors = append(f.supervisors, New(Options{}))
	case 2: // a start that is repeated, by anyone
		if !k.alive {
			return
		}
		if again, started, err := f.any().Start(f.t.Context(), k.spec); again != k.h || started || err != nil {
			f.t.Errorf("started again: %+v %v %v, it is %+v", again, started, err, k.h)
		}
	case 3: // a start that is cancelled
		ctx, cancel := context.WithCancel(f.t.Context())
		cancel()
		if _, _, err := f.any().Start(ctx, k.spec); !errors.Is(err, context.Canceled) {
			f.t.Error("a cancelled start:", err)
		}
	case 4: // kill -9, of the process or of its group
		pid := int(k.h.Pid)
		if f.rand.IntN(2) == 0 {
			pid = -pid
		}
		if k.alive {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		e, err := k.owner.Watch(f.t.Context(), k.h)
		if err != nil || e.Unwitnessed || k.alive && e.Code != Killed {
			f.t.Errorf("its parent saw %+v %v", e, err)
		}
		k.alive = false
	case 5:
		if err := f.any().Stop(f.t.Context(), k.h, time.Duration(f.rand.IntN(2))*20*time.Millisecond, nil); err != nil {
			f.t.Error(err)
		}
		k.alive = false
	case 6: // a record whose pid has been given to another process
		impostor := k.h
		impostor.StartTicks++
		impostor.Nonce = "carried by no process"
		if err := f.any().Stop(f.t.Context(), impostor, 0, nil); err != nil {
			f.t.Error(err)
		}
	}
	f.check(k)
}

func (f *farm) start() {
	script := []string{waits, deaf, parent}[f.rand.IntN(3)]
	k := &kept{spec: shell(f.t, script), owner: f.any(), alive: true}
	k.h = start(f.t, k.owner, k.spec)
	f.all = append(f.all, k)
	f.check(k)
}

// check asks all supervisors about a process, and the kernel about what it started.
func (f *farm) check(k *kept) {
	f.t.Helper()
	want := Gone
	if k.alive {
		want = Alive
	}
	for _, s := range f.supervisors {
		if live, err := s.Prove(k.h); live != want {
			f.t.Errorf("%s is %v (%v), want %v", k.h.Nonce, live, err, want)
		}
		found, live, err := s.Find(f.t.Context(), k.h.Nonce)
		if live != want || err != nil || k.alive && found != k.h {
			f.t.Errorf("%s was found %v as %+v (%v), want %v", k.h.Nonce, live, found, err, want)
		}
	}
	for _, pid := range childrenOf(k.h) {
		if !k.alive && running(pid) && strings.Contains(Variable(pid, nonceVar), k.h.Nonce) {
			f.t.Errorf("%s left pid %d behind", k.h.Nonce, pid)
		}
	}
}
