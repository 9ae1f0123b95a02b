package arbiter

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func mustDo(t *testing.T, m *entitytest.Bench[State], commands ...proto.Message) {
	t.Helper()
	for _, c := range commands {
		if _, err := m.Do(c); err != nil {
			t.Fatal(err)
		}
	}
}

// A holder that refuses every grant is placed again after growing pauses: at most eight times in the first minute, whoever asks, and by whatever name.
func TestAHolderThatRefusesIsPlacedAfterGrowingPauses(t *testing.T) {
	m := arbiterWith(0)
	empty := seen([]*messages.GpuView{card(24, 0, 0)})
	const holder = "model/h/sour"
	var times []time.Duration
	began := m.Now
	for m.Now.Sub(began) < 30*time.Minute {
		for _, asks := range []string{"model/*/sour", holder} {
			p := decide(t, m, empty, request(asks, 20)).Placement
			if p == nil {
				continue
			}
			times = append(times, m.Now.Sub(began))
			mustDo(t, m, &messages.ReportReserved{Id: p.Id, Epochs: []uint64{1}}, &messages.AbandonPlacement{Id: p.Id, Reason: "it is failed"}, &messages.ClosePlacement{Id: p.Id, Reason: "abandoned"})
		}
		m.Now = m.Now.Add(250 * time.Millisecond)
	}
	early := 0
	for _, at := range times {
		if at < time.Minute {
			early++
		}
	}
	if early > 9 || early < 5 {
		t.Errorf("placed %d times in the first minute", early)
	}
	if most := 9 + int(30*time.Minute/longestSetback); len(times) > most {
		t.Errorf("placed %d times in half an hour, at most %d are expected", len(times), most)
	}
	for i := 3; i+1 < len(times); i++ {
		if a, b := times[i]-times[i-1], times[i+1]-times[i]; b < a-time.Second {
			t.Errorf("a pause of %s follows one of %s", b, a)
		}
	}
	if p := decide(t, m, empty, request("model/h/sweet", 20)).Placement; p == nil {
		t.Error("another holder waits for it")
	}
	// A grant that is taken ends the count.
	m.Now = m.Now.Add(longestSetback)
	p := decide(t, m, empty, request(holder, 1)).Placement
	mustDo(t, m, &messages.ReportReserved{Id: p.Id, Epochs: []uint64{1}}, &messages.ClosePlacement{Id: p.Id, Reason: "handed over"})
	if len(m.State.Setbacks) != 0 {
		t.Errorf("%v", m.State.Setbacks)
	}
}

// A device's refusal is a setback as an unwilling holder is. One that is long ago says nothing, and a clock that was set back holds nobody up.
func TestSetbacksOfDevices(t *testing.T) {
	m := arbiterWith(0)
	empty := seen([]*messages.GpuView{card(24, 0, 0)})
	const holder = "model/h/sour"
	refuse := func() {
		t.Helper()
		p := decide(t, m, empty, request(holder, 20)).Placement
		if p == nil {
			t.Fatal("it isn't placed")
		}
		mustDo(t, m, &messages.ReportReservationRefused{Id: p.Id, Error: messages.NewError(messages.GPUUnavailable, "gpu/h/0", "full").Body()})
	}
	refuse()
	refuse()
	if p := decide(t, m, empty, request(holder, 20)).Placement; p != nil {
		t.Error("it is placed a third time at once")
	}
	back := m.Now
	if m.Now = back.Add(-time.Hour); decide(t, m, empty, request(holder, 20)).Placement == nil {
		t.Error("the clock was set back, and it waits for an hour")
	}
	m = arbiterWith(0)
	refuse()
	refuse()
	m.Now = m.Now.Add(setbackFades)
	refuse()
	if b := m.State.Setbacks[holder]; b.Times != 1 {
		t.Errorf("setbacks of ten minutes ago count: %+v", b)
	}
}
