package journal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// pager is the operation ReadJournal in small: pages of at most seven decisions.
type pager struct {
	j    *Journal
	fail func(asked int) error // nil = never
	n    int
}

func (p *pager) ReadJournal(ctx context.Context, r *messages.JournalRequest) (*messages.JournalPage, error) {
	if p.n++; p.fail != nil {
		if err := p.fail(p.n); err != nil {
			return nil, err
		}
	}
	var actor messages.ActorID
	if r.Actor != "" {
		actor, _ = messages.ParseActorID(r.Actor)
	}
	for wait := r.WaitMs; wait > 0 && p.j.Sequence() <= r.After && ctx.Err() == nil; wait-- {
		<-time.After(time.Millisecond)
	}
	page := &messages.JournalPage{LastSequence: p.j.Sequence()}
	full := errors.New("full")
	err := p.j.Replay(ctx, Query{Actor: actor, After: r.After, Unknown: true}, func(d messages.Recorded) error {
		if len(page.Decisions) == 7 {
			return full
		}
		page.Decisions = append(page.Decisions, &messages.RecordedDecision{Sequence: d.Sequence, Expected: d.Expected, Actor: d.Actor.String(), Id: d.ID,
			At: d.At.Format(time.RFC3339Nano), BootId: d.BootID, Correlation: d.Meta.Correlation, Decision: d.Decision})
		return nil
	})
	page.NextAfter = page.LastSequence
	if errors.Is(err, full) {
		page.NextAfter, err = page.Decisions[6].Sequence, nil
	}
	return page, err
}

func TestRemoteReadsLikeTheJournal(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 150)
	r := NewRemote(testHost, &pager{j: j})
	for _, q := range []Query{{}, {Actor: modelName(2)}, {After: 100, Until: 120}, {Actor: modelName(3), After: 13, Until: 140}, {After: 150}, {Actor: modelName(9)},
		{UntilTime: time.Unix(1, 0)}} {
		var got []messages.Recorded
		err := r.Replay(t.Context(), q, func(r messages.Recorded) error { got = append(got, r); return nil })
		want := readAll(t, j, q)
		if err != nil || !slices.Equal(sequences(got), sequences(want)) {
			t.Errorf("%+v: got %v, %v, want %v", q, sequences(got), err, sequences(want))
		}
		for i := range min(len(got), len(want)) {
			g, w := got[i], want[i]
			if g.Actor != w.Actor || g.Expected != w.Expected || g.ID != w.ID || g.BootID != w.BootID || !g.At.Equal(w.At) || len(g.Events) != len(w.Events) {
				t.Errorf("%+v, want %+v", g, w)
			}
		}
	}
}

// Following goes on where it was after answers that got lost, and ends when there are none for good.
func TestRemoteFollows(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 20)
	lost := messages.NewError(messages.Unavailable, "x", "no daemon answers")
	r := NewRemote(testHost, &pager{j: j, fail: func(n int) error {
		if n%2 == 0 {
			return lost
		}
		return nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	want := uint64(3)
	err := r.Follow(ctx, 2, func(d messages.Recorded) error {
		if d.Sequence != want {
			t.Errorf("followed %d, want %d", d.Sequence, want)
		}
		if want++; d.Sequence == 20 {
			mustAppend(t, j, modelName(7), 0, wanted("live")...)
		}
		if d.Sequence == 21 {
			cancel()
		}
		return nil
	})
	wantCode(t, err, messages.Cancelled)
	if want != 22 {
		t.Errorf("followed up to %d", want-1)
	}
	err = r.Follow(t.Context(), 99, func(messages.Recorded) error { return nil })
	wantCode(t, err, messages.FailedPrecondition)

	gone := NewRemote(testHost, &pager{j: j, fail: func(int) error { return lost }})
	gone.lost = time.Millisecond
	err = gone.Follow(t.Context(), 0, func(messages.Recorded) error { return nil })
	wantCode(t, err, messages.Unavailable)
}

// What comes from elsewhere is checked like what comes from the disk.
func TestRemoteChecksTheChain(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 12)
	for what, spoil := range map[string]func(p *messages.JournalPage){
		"it is missing":    func(p *messages.JournalPage) { p.Decisions = slices.Delete(p.Decisions, 3, 4) },
		"chain":            func(p *messages.JournalPage) { p.Decisions[6].Expected = 3 },
		"no readable time": func(p *messages.JournalPage) { p.Decisions[2].At = "noon" },
	} {
		r := NewRemote(testHost, spoiled{&pager{j: j}, spoil})
		err := r.Replay(t.Context(), Query{}, func(messages.Recorded) error { return nil })
		if e := wantCode(t, err, messages.JournalDamaged); !strings.Contains(e.Error(), what) {
			t.Errorf("%s: %v", what, e)
		}
	}
}

type spoiled struct {
	*pager
	spoil func(*messages.JournalPage)
}

func (s spoiled) ReadJournal(ctx context.Context, r *messages.JournalRequest) (*messages.JournalPage, error) {
	page, err := s.pager.ReadJournal(ctx, r)
	if err == nil && len(page.Decisions) == 7 {
		s.spoil(page)
	}
	return page, err
}
