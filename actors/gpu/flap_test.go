package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// ledger is a bench whose ledger decides what it is told, and counts its events.
type ledger struct {
	*bench
	state  State
	events map[string]int
}

func flapping(t *testing.T) (*Sampler, *ledger) {
	s, b := sampler(&bytes.Buffer{})
	l := &ledger{bench: b, state: New(messages.GPUActor("h", "gpu0")), events: map[string]int{}}
	b.models = nil
	s.View, s.Door = l, l
	if err := s.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, l
}

func (l *ledger) GPU(messages.ActorID) *messages.GpuView { return View(l.state).(*messages.GpuView) }

func (l *ledger) GPUs() []*messages.GpuView {
	return []*messages.GpuView{l.GPU(messages.ActorID{})}
}

func (l *ledger) Ask(_ context.Context, _ messages.ActorID, m proto.Message) (messages.Reply, error) {
	return messages.Reply{}, l.take(m)
}

// Tell takes what is told gpu0; what is told another device, which the fakes of "in the list" name, has no ledger.
func (l *ledger) Tell(_ context.Context, to messages.ActorID, m proto.Message) {
	if to.Kind == messages.KindGPU && to.Name() == "gpu0" {
		_ = l.take(m) // what a ledger refuses is no event
	}
}

func (l *ledger) take(m proto.Message) error {
	v, err := Decide(l.state, m, entity.Stamp{Now: time.Now()})
	for _, e := range v.Events {
		l.events[string(e.ProtoReflect().Descriptor().Name())]++
		l.state = Evolve(l.state, e, 1)
	}
	return err
}

// forADay samples every two seconds for a day and changes something before each.
func forADay(t *testing.T, s *Sampler, change func(i int)) {
	t.Helper()
	for i := range 24 * 60 * 30 {
		change(i)
		s.Sample(t.Context())
		time.Sleep(2 * time.Second)
	}
}

// A device that comes and goes all day is a few events, whatever comes and goes: its driver, the device, its place in the list, or what it says it is.
func TestFlapsAreFewEvents(t *testing.T) {
	for name, change := range map[string]func(l *ledger, i int){
		"the driver": func(l *ledger, i int) {
			if l.broken = nil; i/2%2 == 1 {
				l.broken = errors.New("gone")
			}
		},
		"the device":    func(l *ledger, i int) { l.reading.Lost = i%2 == 1 },
		"in the list":   func(l *ledger, i int) { l.reading.Device = fmt.Sprint("gpu", i/3%2*7) },
		"its memory":    func(l *ledger, i int) { l.reading.CapacityBytes = uint64(1+i/2%2) * messages.GiB },
		"which it is":   func(l *ledger, i int) { l.reading.Uuid = fmt.Sprint(i % 2) },
		"once an hour":  func(l *ledger, i int) { l.reading.Lost = i%1800 == 1 },
		"every 9 s":     func(l *ledger, i int) { l.reading.Lost = i%5 == 1 },
		"every 11 mins": func(l *ledger, i int) { l.reading.Lost = i%330 == 1 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, l := flapping(t)
				l.reading.CapacityBytes = messages.GiB
				forADay(t, s, func(i int) { change(l, i) })
				sum := 0
				for _, n := range l.events {
					sum += n
				}
				if sum < 3 || sum > 24*12 {
					t.Errorf("%d events in a day: %v", sum, l.events)
				}
			})
		})
	}
}

// A device that was lost once counts at once when it is back; one that flaps has to work for a while, and says so; an hour's work is a new beginning.
func TestADeviceThatWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := flapping(t)
		after := func(lost bool, seconds int) bool {
			l.reading.Lost = lost
			s.Sample(t.Context())
			time.Sleep(time.Duration(seconds) * time.Second)
			s.Sample(t.Context())
			return l.state.Lost
		}
		if after(true, 0) != true || after(false, 0) != false {
			t.Fatal("the first loss")
		}
		if after(true, 0) != true || after(false, 9) != true {
			t.Fatal("it counts after 9 s, although it was lost twice")
		}
		if !strings.HasSuffix(l.state.LostReason, "it was lost 2 times, and counts again when it has worked for 10s") {
			t.Error(l.state.LostReason)
		}
		if after(false, 2) != false {
			t.Fatal("it worked for 11 s and doesn't count")
		}
		if after(true, 0) != true || after(false, 11) != true || after(false, 10) != false {
			t.Fatal("after the third loss it has to work for 20 s")
		}
		time.Sleep(calm)
		if after(true, 0) != true || after(false, 0) != false {
			t.Error("its losses aren't forgotten")
		}
	})
}

// A fault that a driver reports again and again is a few events; another fault is one of its own.
func TestAStormOfFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := sampler(&bytes.Buffer{})
		told := 0
		for range 24 * 3600 {
			if s.worthTelling(&messages.DeviceFault{Device: "gpu0", Code: 31}) {
				told++
			}
			time.Sleep(time.Second)
		}
		if told < 4 || told > 200 {
			t.Errorf("%d events in a day", told)
		}
		if !s.worthTelling(&messages.DeviceFault{Device: "gpu0", Code: 79}) {
			t.Error("another fault isn't told")
		}
	})
}

// Each reading that wasn't given is counted, by its device, or by none while the driver has shown none.
func TestFailedReadingsAreCounted(t *testing.T) {
	s, b := sampler(&bytes.Buffer{})
	b.models = nil // else their memory is measured too
	failed := map[string]int{}
	s.Failed = func(device string) { failed[device]++ }
	b.broken = errors.New("gone")
	s.Sample(t.Context())
	b.broken = nil
	s.Sample(t.Context())
	b.broken = errors.New("gone")
	s.Sample(t.Context())
	b.broken, b.reading.Lost = nil, true
	s.Sample(t.Context())
	if got := fmt.Sprint(failed); got != "map[:1 gpu0:2]" {
		t.Error(got)
	}
}
