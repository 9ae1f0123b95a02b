package explain

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"modelops/messages"
)

const (
	longEvents = 1_000_000
	longModels = 50
)

// longJournal is a journal of a million events that is made up as it is read: models that load, one after the other, each evicting another.
type longJournal struct {
	turns int
	size  uint64 // decisions a turn
}

func newLongJournal() longJournal {
	events := 0
	first := turn(0)
	for _, r := range first {
		events += len(r.Events)
	}
	return longJournal{longEvents / events, uint64(len(first))}
}

// turn is one load of one model, and what it evicts.
func turn(n int) []messages.Recorded {
	before := n - longModels/2 // the turn that loaded the victim
	if before < 0 {
		before += longModels // it never loaded
	}
	name, victim := fmt.Sprintf("m%03d", n%longModels), fmt.Sprintf("m%03d", before%longModels)
	attempt := uint64(n/longModels + 1)
	s := newTale()
	s.caused(fmt.Sprintf("request-%d", n), m(name), &messages.ModelWanted{Reason: "a request waits for it", Attempt: attempt})
	s.load(decided(name, attempt, "sim0", messages.Need_measured, weighed("sim0", 20000, 400, chosen, leaves(0.1, out(victim, 400, 90000, 1300))), weighed("sim1", 20000, 400)), attempt)
	s.evict(victim, fmt.Sprintf("p-%s-%d", name, attempt), m(name), "sim0", fmt.Sprintf("p-%s-%d", victim, before/longModels+1))
	for i := range s.records {
		r := &s.records[i]
		r.Sequence += uint64(n * len(s.records))
		r.ID, r.At = fmt.Sprintf("d%d", r.Sequence), start.Add(time.Duration(r.Sequence)*time.Second)
	}
	return s.records
}

func (l longJournal) Sequence() uint64 { return uint64(l.turns) * l.size }

func (l longJournal) Replay(_ context.Context, after, until uint64, fn func(messages.Recorded) error) error {
	for n := after / l.size; n*l.size < until; n++ {
		for _, r := range turn(int(n)) {
			if r.Sequence <= after || r.Sequence > until {
				continue
			}
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l longJournal) Read(_ context.Context, sequences []uint64, fn func(messages.Recorded) error) error {
	for _, s := range sequences {
		if err := fn(turn(int((s - 1) / l.size))[(s-1)%l.size]); err != nil {
			return err
		}
	}
	return nil
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// BenchmarkWhy asks about a journal of a million events. The journal is in memory: reading thirty decisions of a real one takes a few hundred
// microseconds more.
func BenchmarkWhy(b *testing.B) {
	j := newLongJournal()
	before, began := heap(), time.Now()
	book := NewBook("", j)
	now := Present{Now: start.Add(time.Duration(j.Sequence()+60) * time.Second), Tries: 3}
	if _, err := Why(b.Context(), Question{Subject: "m001", Model: messages.ModelActor("main_pc", "m001")}, now, book); err != nil {
		b.Fatal(err)
	}
	b.Logf("an index of %d decisions, built in %s, holds %d KiB", j.Sequence(), time.Since(began).Round(time.Millisecond), (heap()-before)/1024)
	model := func(i int) messages.ActorID {
		return messages.ModelActor("main_pc", fmt.Sprintf("m%03d", i%longModels))
	}
	for _, c := range []struct {
		name     string
		question func(i int) Question
	}{
		{"model", func(i int) Question { return Question{Subject: "m", Model: model(i)} }},
		{"placement", func(i int) Question {
			return Question{Subject: "p", ID: fmt.Sprintf("p-m%03d-%d", i%longModels, 1+i*7919%(j.turns/longModels))}
		}},
		{"request", func(i int) Question {
			n := j.turns - 1 - i*7919%4096 // memory knows the last 4096
			at := start.Add(time.Duration(uint64(n)*j.size+1) * time.Second)
			return Question{Subject: "r", ID: fmt.Sprintf("request-%d", n), Model: model(n), Request: &Request{ID: "r", Asked: "m", Model: model(n), Began: at, Granted: at.Add(30 * time.Second)}}
		}},
		{"forgotten request", func(i int) Question { return Question{Subject: "r", ID: fmt.Sprintf("request-%d", i*7919%j.turns)} }},
		{"nothing", func(i int) Question { return Question{Subject: "n", ID: fmt.Sprint("nothing-", i)} }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := Why(b.Context(), c.question(i), now, book); err != nil && c.name != "nothing" {
					b.Fatalf("%+v: %v", c.question(i), err)
				}
			}
		})
	}
}
