package gpu

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelops/messages"
)

// The memory of a worker that is gone counts as foreign until the driver sees that it is free. Without the driver's word nothing is known.
func TestAwaitFree(t *testing.T) {
	const fine = messages.Code(0)
	never := errors.New("never")
	for name, c := range map[string]struct {
		during func(*bench, context.CancelFunc) // after a second
		waited time.Duration
		code   messages.Code
		told   string // at the end
		why    string // what health says
	}{
		"the driver sees it": {func(b *bench, _ context.CancelFunc) { b.set(func() { b.reading.UsedBytes = 0 }) }, time.Second, fine, "foreign 0", ""},
		"it never does":      {func(*bench, context.CancelFunc) {}, freeWithin, fine, "foreign 2684354560", ""},
		"the host ends":      {func(_ *bench, end context.CancelFunc) { end() }, time.Second, messages.Cancelled, "", ""},
		"it can't be read":   {func(b *bench, _ context.CancelFunc) { b.set(func() { b.broken = never }) }, freeWithin, messages.Unavailable, "", "keeps its lease on gpu/h/gpu0 although its worker is gone: never"},
		"all are lost": {func(b *bench, _ context.CancelFunc) {
			b.set(func() { b.reading.Lost, b.reading.LostReason = true, "updated" })
		}, freeWithin, messages.Unavailable, "", "worker is gone: updated"},
		"no driver lists it":     {func(b *bench, _ context.CancelFunc) { b.set(func() { b.reading.Device = "gpu9" }) }, freeWithin, messages.Unavailable, "", "no driver shows it"},
		"its ledger knows of it": {func(b *bench, _ context.CancelFunc) { b.set(func() { b.reading.Device, b.gpu.Lost = "gpu9", true }) }, time.Second, fine, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				s, b := sampler(&log)
				var end context.CancelFunc
				s.Life, end = context.WithCancel(t.Context())
				defer end()
				p := b.models[0].Placement
				b.models, b.reading.Processes, b.reading.UsedBytes = nil, nil, 10*freeSlack
				began := time.Now()
				var done sync.WaitGroup
				var err error
				done.Go(func() { err = s.AwaitFree(t.Context(), p) })
				time.Sleep(time.Second - time.Millisecond)
				c.during(b, end)
				done.Wait()
				if waited := time.Since(began).Round(time.Second); waited != c.waited {
					t.Errorf("waited %s, want %s", waited, c.waited)
				}
				if code := messages.CodeOf(err); (err == nil) != (c.code == fine) || err != nil && code != c.code && !errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
				if told := b.heard(); (told == "") != (c.told == "") || !strings.HasSuffix(told, c.told) {
					t.Errorf("the ledger hears %q before the lease goes back", told)
				}
				if why := strings.Join(s.Troubles(), "; "); (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
					t.Errorf("health says %q", why)
				}
			})
		})
	}
	s, b := sampler(&bytes.Buffer{})
	b.reading.UsedBytes, b.models[0].Placement.DeviceKind = 10*freeSlack, "cpu"
	if err := s.AwaitFree(t.Context(), b.models[0].Placement); err != nil || b.heard() != "" {
		t.Errorf("RAM is free at once: %v", err)
	}
}

// A lease that stayed because its driver didn't answer goes back when it answers, and health forgets it. A driver that hangs is no other one's.
func TestALeaseStaysWhileItsDriverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := sampler(&bytes.Buffer{})
		p := b.models[0].Placement
		b.models, b.reading.Processes, b.reading.UsedBytes = nil, nil, 0
		s.Sample(t.Context())
		b.heard()
		well := s.Devices
		s.Devices = []Devices{hangs{b}}
		if err := s.AwaitFree(t.Context(), p); messages.CodeOf(err) != messages.Unavailable || len(s.Troubles()) != 1 {
			t.Fatalf("%v, %q", err, s.Troubles())
		}
		s.Devices = well
		if err := s.AwaitFree(t.Context(), p); err != nil || len(s.Troubles()) != 0 {
			t.Errorf("%v, %q", err, s.Troubles())
		}
		s.Devices = append(well, hangs{&bench{}})
		if err := s.AwaitFree(t.Context(), p); err != nil {
			t.Errorf("another driver hangs: %v", err)
		}
		b.heard()
		b.reading.Lost = true
		s.Devices = append(well, &bench{reading: &messages.DeviceReading{Device: "gpu1", Kind: "cuda", CapacityBytes: 1000}})
		if err := s.AwaitFree(t.Context(), p); err != nil || b.heard() != "gpu/h/gpu0 ObserveDevice foreign 0, lost: " {
			t.Errorf("its driver says that it is lost: %v", err)
		}
	})
}

// What unknown workers hold of RAM is foreign use, also where the reading doesn't show it. A GPU's driver counts it already.
func TestStraysHoldMemory(t *testing.T) {
	for kind, want := range map[string]string{"cpu": "foreign 6", "cuda": "foreign 0"} {
		s, b := sampler(&bytes.Buffer{})
		b.reading.Kind = kind
		s.Devices = []Devices{withRAM{b}}
		s.Strays = func() []int64 { return []int64{8, 9} }
		s.Observe(t.Context(), b.reading)
		if got := b.heard(); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", kind, got)
		}
	}
}
