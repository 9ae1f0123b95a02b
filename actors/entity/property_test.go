package entity_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/messages"
)

// spot is the state of a random kind: its place in the maze, and the path to it.
type spot struct {
	At    uint64
	Steps uint64
	Sum   uint64
}

// errand is what a spot owes.
type errand struct{ Name string }

func (e errand) Key() string { return e.Name }

// laterErrand is one whose first try is delayed.
type laterErrand struct{ errand }

func (laterErrand) Delay() time.Duration { return time.Hour }

// maze is a random kind: from each spot, a command leads somewhere, is refused, or changes nothing; each spot owes some of a few errands.
type maze struct {
	leads [][]int // by spot and command: the next spot, or stays, or refuses
	owes  [][]string
}

const (
	spots    = 5
	commands = 4
	stays    = -1
	refuses  = -2
)

func anyMaze(t *rapid.T) maze {
	var m maze
	for range spots {
		m.leads = append(m.leads, rapid.SliceOfN(rapid.IntRange(refuses, spots-1), commands, commands).Draw(t, "leads"))
		m.owes = append(m.owes, rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID).Draw(t, "owes"))
	}
	return m
}

func (m maze) kind() entity.Kind[spot] {
	return entity.Kind[spot]{
		Name: "model", Fold: 1, New: func(messages.ActorID) spot { return spot{} },
		Decide: func(s spot, c proto.Message, _ entity.Stamp) (entity.Verdict, error) {
			switch to := m.leads[s.At][c.(*messages.RetryLoad).Attempt]; to {
			case stays:
				return entity.Verdict{}, nil
			case refuses: // a refusal may have any code: only a failed append makes a machine rebuild
				return entity.Verdict{}, messages.NewError(messages.Conflict, "maze", "no way")
			default:
				return entity.Facts(&messages.ModelDrained{Attempt: uint64(to)}, &messages.ModelDrained{Attempt: uint64(to)}), nil
			}
		},
		Evolve: func(s spot, e proto.Message, sequence uint64) spot {
			return spot{At: e.(*messages.ModelDrained).Attempt, Steps: s.Steps + 1, Sum: s.Sum*31 + s.At + sequence}
		},
		Owed: func(s spot) (out []entity.Effect) {
			for _, name := range m.owes[s.At] {
				if name == "c" {
					out = append(out, laterErrand{errand{name}})
				} else {
					out = append(out, errand{name})
				}
			}
			return out
		},
		View: func(s spot) proto.Message { return &messages.ModelView{Attempt: s.At} },
	}
}

// kill is the end of the process in mid-step.
type kill struct{}

// walk is the World of a machine in a maze. It checks each call at once.
type walk struct {
	*rapid.T
	kind     entity.Kind[spot]
	machine  *entity.Machine[spot]
	journal  []messages.Recorded
	snapshot *entity.Snapshot
	ids      int
	alive    bool
	running  map[string]entity.Try
	waiting  map[string]entity.Try
	former   []entity.Try // every try that was ever begun
}

func (w *walk) fold() spot { return replayed(w.kind, w.journal) }

func (w *walk) owed() (keys []string) {
	for _, e := range w.kind.Owed(w.fold()) {
		keys = append(keys, e.Key())
	}
	slices.Sort(keys)
	return keys
}

func (w *walk) Life() context.Context { return w.Context() }
func (w *walk) Now() time.Time        { return time.Unix(int64(w.ids), 0) }
func (w *walk) NewID() string         { w.ids++; return fmt.Sprint(w.ids) }
func (w *walk) Log() *slog.Logger     { return slog.New(slog.DiscardHandler) }

func (w *walk) Append(a entity.Append) (uint64, error) {
	how := rapid.IntRange(0, 30).Draw(w.T, "append") // 0 to 5 are failures
	switch how {
	case 0:
		return 0, messages.NewError(messages.JournalFull, "journal", "full")
	case 1:
		return 0, messages.NewError(messages.Conflict, "journal", "another writer")
	case 2:
		return 0, messages.NewError(messages.JournalUnavailable, "journal", "not stored")
	case 3:
		panic(kill{})
	}
	if a.Expected != uint64(len(w.journal)) {
		w.Fatalf("a decision expects to follow %d, the journal has %d", a.Expected, len(w.journal))
	}
	w.journal = append(w.journal, messages.Recorded{Actor: a.Actor, Sequence: a.Expected + 1, ID: a.Meta.ID, Events: a.Events})
	switch how {
	case 4:
		return 0, messages.NewError(messages.JournalUnavailable, "journal", "stored, but not acknowledged")
	case 5:
		panic(kill{})
	}
	return a.Expected + 1, nil
}

func (w *walk) Replay(after uint64, fn func(messages.Recorded) error) error {
	for _, r := range w.journal[after:] {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) LoadSnapshot() (entity.Snapshot, bool, error) {
	if w.snapshot == nil {
		return entity.Snapshot{}, false, nil
	}
	return *w.snapshot, true, nil
}

func (w *walk) SaveSnapshot(s entity.Snapshot) error { w.snapshot = &s; return nil }

// Begin checks that the work is owed by what is stored, and that nothing else is done under its key.
func (w *walk) Begin(t entity.Try) {
	_, runs := w.running[t.Key]
	_, waits := w.waiting[t.Key]
	if runs || waits {
		w.Fatalf("a second try of %s begins", t.Key)
	}
	if !slices.Contains(w.owed(), t.Key) {
		w.Fatalf("%s begins, the journal owes %v", t.Key, w.owed())
	}
	w.running[t.Key], w.former = t, append(w.former, t)
}

func (w *walk) Later(t entity.Try, pause time.Duration) {
	first := t.Key == "c" && pause == time.Hour && !slices.Contains(w.former, t)
	if first {
		w.former = append(w.former, t)
	}
	if w.running[t.Key] != t && !first || pause <= 0 {
		w.Fatalf("a pause of %s after a try of %s that doesn't run", pause, t.Key)
	}
	delete(w.running, t.Key)
	w.waiting[t.Key] = t
}

func (w *walk) Cancel(t entity.Try) {
	if w.running[t.Key] != t && w.waiting[t.Key] != t {
		w.Fatalf("a try of %s is cancelled that isn't there", t.Key)
	}
	delete(w.running, t.Key)
	delete(w.waiting, t.Key)
}

func (w *walk) Recovered(int) { w.matches() }

func (w *walk) Decided(proto.Message, []proto.Message) { w.matches() }

func (w *walk) matches() {
	if w.machine.State() != w.fold() || w.machine.Sequence() != uint64(len(w.journal)) {
		w.Fatalf("the machine is %+v at %d, its journal folds to %+v at %d", w.machine.State(), w.machine.Sequence(), w.fold(), len(w.journal))
	}
}

// step calls the machine. A rebuild stops it and a kill ends the process: the next step starts it again.
func (w *walk) step(do func() error) {
	if !w.alive {
		if err := w.machine.Start(); err != nil {
			w.Fatal(err)
		}
		w.alive = true
	}
	defer func() {
		if r := recover(); r != nil {
			if _, killed := r.(kill); !killed {
				panic(r)
			}
			w.alive = false
		}
	}()
	var rebuild *entity.Rebuild
	if err := do(); errors.As(err, &rebuild) {
		w.alive = false
		if len(w.running)+len(w.waiting) > 0 {
			w.Fatalf("a machine that must rebuild still does %v, %v", w.running, w.waiting)
		}
	}
}

// rests checks what holds between two steps.
func (w *walk) rests(*rapid.T) {
	if !w.alive {
		return
	}
	w.matches()
	if err := w.machine.Verify(); err != nil {
		w.Fatal(err)
	}
	var done []string
	for key := range w.running {
		done = append(done, key)
	}
	for key := range w.waiting {
		done = append(done, key)
	}
	if slices.Sort(done); !slices.Equal(done, w.owed()) {
		w.Fatalf("%v are under way, owed are %v", done, w.owed())
	}
}

func (w *walk) stop(t *rapid.T) {
	w.machine.Stop()
	w.alive = false
	if _, err := w.machine.Ask(&messages.RetryLoad{}, messages.Meta{}); messages.CodeOf(err) != messages.Unavailable {
		t.Fatalf("a stopped machine answers %v", err)
	}
}

// upgrade starts another process whose kind has another fold version, so that it can't use the snapshot.
func (w *walk) upgrade() {
	every := w.machine.SnapshotEvery
	w.kind.Fold++
	w.machine, w.alive = entity.NewMachine[spot](w.kind, toyID, w), false
	w.machine.SnapshotEvery = every
	clear(w.running)
	clear(w.waiting)
	if w.snapshot != nil {
		w.snapshot.State = []byte(`{"At":0,"Steps":99}`)
	}
}

func anyReport(t *rapid.T) (command proto.Message, failure error) {
	switch n := rapid.Uint64Range(0, commands+1).Draw(t, "report"); n {
	case commands:
		return nil, nil
	case commands + 1:
		return nil, errTry
	default:
		return &messages.RetryLoad{Attempt: n}, nil
	}
}

func anyOf(t *rapid.T, tries []entity.Try) entity.Try {
	if len(tries) == 0 {
		t.Skip("no try")
	}
	latest := tries[max(0, len(tries)-3):] // older ones differ from these in nothing
	return latest[rapid.IntRange(0, len(latest)-1).Draw(t, "try")]
}

// For any kind and any order of commands, reports, late reports, pauses, crashes and failed appends: the state is the fold of the journal, work
// begins only when the journal owes it, one try at a time, and nothing runs that isn't owed.
func TestMachineProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &walk{T: t, kind: anyMaze(t).kind(), running: map[string]entity.Try{}, waiting: map[string]entity.Try{}}
		w.machine = entity.NewMachine[spot](w.kind, toyID, w)
		w.machine.SnapshotEvery = rapid.IntRange(0, 3).Draw(t, "snapshots")
		t.Repeat(map[string]func(*rapid.T){
			"": w.rests,
			"command": func(t *rapid.T) {
				c := &messages.RetryLoad{Attempt: rapid.Uint64Range(0, commands-1).Draw(t, "command")}
				w.step(func() error { _, err := w.machine.Ask(c, messages.Meta{}); return err })
			},
			"report": func(t *rapid.T) { // of any try: only the latest one that runs may change something
				try := anyOf(t, w.former)
				command, failure := anyReport(t)
				w.step(func() error {
					before, runs := len(w.journal), w.running[try.Key] == try
					err := w.machine.Report(try, command, failure)
					if !runs && (len(w.journal) != before || err != nil) {
						t.Fatalf("the late report of try %d of %s was taken: %v", try.Number, try.Key, err)
					}
					return err
				})
			},
			"again": func(t *rapid.T) {
				try := anyOf(t, w.former)
				w.step(func() error {
					if w.waiting[try.Key] == try {
						delete(w.waiting, try.Key)
					}
					w.machine.Again(try)
					return nil
				})
			},
			"end": func(t *rapid.T) {
				switch rapid.IntRange(0, 9).Draw(t, "how") {
				case 0: // killed between two steps
					w.alive = false
				case 1:
					w.stop(t)
				case 2:
					w.upgrade()
				}
			},
		})
	})
}
