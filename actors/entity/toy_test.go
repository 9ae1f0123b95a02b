package entity_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// toy is a kind with one piece of work: while it is wanted it owes work/<attempt>, whose report (RetryLoad) ends it.
type toy struct {
	ID      messages.ActorID
	Wanted  bool
	Attempt uint64
	Reason  string
	Done    uint64
}

// task is what a toy owes.
type task struct {
	Attempt uint64
	Reason  string
}

func (e task) Key() string { return fmt.Sprintf("work/%d", e.Attempt) }

// pacedTask is a task with a back-off of its own.
type pacedTask struct{ task }

func (pacedTask) Pace() (first, longest time.Duration) { return time.Millisecond, 4 * time.Millisecond }

// delayedTask is a task whose first try begins after a delay.
type delayedTask struct{ task }

func (delayedTask) Delay() time.Duration { return 2 * time.Second }

// toyFold is the version of evolveToy.
const toyFold = 2

var toyID = messages.ModelActor("main_pc", "toy")

func toyKind(perform func(context.Context, entity.Effect) (proto.Message, error)) entity.Kind[toy] {
	return entity.Kind[toy]{
		Name: "model", Fold: toyFold, Perform: perform, Decide: decideToy, Evolve: evolveToy,
		New: func(id messages.ActorID) toy { return toy{ID: id} },
		View: func(s toy) proto.Message {
			return &messages.ModelView{Id: s.ID.String(), Attempt: s.Attempt, Wanted: s.Wanted}
		},
		Owed: func(s toy) []entity.Effect {
			if !s.Wanted {
				return nil
			}
			t := task{Attempt: s.Attempt, Reason: s.Reason}
			switch {
			case strings.HasPrefix(s.Reason, "paced"):
				return []entity.Effect{pacedTask{t}}
			case strings.HasPrefix(s.Reason, "delayed"):
				return []entity.Effect{delayedTask{t}}
			}
			return []entity.Effect{t}
		},
	}
}

func decideToy(s toy, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	switch c := command.(type) {
	case *messages.EnsureModel: // a new attempt
		return entity.Verdict{Events: []proto.Message{&messages.ModelWanted{Reason: c.Reason, Attempt: s.Attempt + 1}}}, nil
	case *messages.ReportBreaker: // the same attempt for another reason
		return entity.Verdict{Events: []proto.Message{&messages.ModelWanted{Reason: c.State.String(), Attempt: s.Attempt}}}, nil
	case *messages.UnloadModel:
		return entity.Verdict{Events: []proto.Message{&messages.ModelUnwanted{Reason: c.Reason}}}, nil
	case *messages.RetryLoad:
		if c.Attempt != s.Attempt || !s.Wanted {
			return entity.Verdict{}, nil
		}
		return entity.Verdict{Events: []proto.Message{&messages.ModelDrained{Attempt: c.Attempt}}}, nil
	case *messages.StartHost:
		panic("a bug in Decide")
	case *messages.RestartActor: // the code that a failed append has too
		return entity.Verdict{}, messages.NewError(messages.Conflict, s.ID.String(), "no")
	case *messages.StopHost:
		return entity.Verdict{}, messages.NewError(messages.FailedPrecondition, s.ID.String(), "no")
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}

func evolveToy(s toy, event proto.Message, _ uint64) toy {
	switch e := event.(type) {
	case *messages.ModelWanted:
		s.Wanted, s.Attempt, s.Reason = true, e.Attempt, e.Reason
	case *messages.ModelUnwanted:
		s.Wanted = false
	case *messages.ModelDrained:
		s.Wanted = false
		s.Done++
	}
	return s
}

// stage is a toy's shell under a supervisor that restarts it after a second.
type stage struct {
	t       *testing.T
	journal *entitytest.Journal
	system  *actor.ActorSystem
	parent  *actor.PID
	pid     *actor.PID
	seen    *watcher
	log     *strings.Builder
	crashes *atomic.Int32
}

type restartAfterASecond struct{ crashes *atomic.Int32 }

func (r restartAfterASecond) HandleFailure(_ *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, _, _ any) {
	r.crashes.Add(1)
	time.AfterFunc(time.Second, func() { sup.RestartChildren(child) })
}

// watcher is an Observer that records its calls.
type watcher struct {
	mu        sync.Mutex
	changes   []string
	recovered []int
	waits     []bool
}

func (w *watcher) StateChanged(_ messages.ActorID, sequence uint64, view proto.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := view.(*messages.ModelView)
	w.changes = append(w.changes, fmt.Sprintf("%d:%d:%t", sequence, v.Attempt, v.Wanted))
}

func (w *watcher) Recovered(_ messages.ActorID, decisions int, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recovered = append(w.recovered, decisions)
}

// Waits implements entity.Waiting.
func (w *watcher) Waits(_ messages.ActorID, why *messages.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits = append(w.waits, why != nil)
}

// told are the calls of Waits, repeated ones left out: that the actor waits, and that it doesn't any more.
func (w *watcher) told() []bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Compact(slices.Clone(w.waits))
}

// lives is how often an incarnation has read the journal.
func (w *watcher) lives() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.recovered)
}

type options struct {
	journal       *entitytest.Journal
	store         entity.Journal // instead of journal
	snapshotEvery int
	perform       func(context.Context, entity.Effect) (proto.Message, error)
}

// idle is owed work that never ends by itself.
func idle(ctx context.Context, _ entity.Effect) (proto.Message, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// play runs a story of a toy in virtual time.
func play(t *testing.T, o options, story func(*stage)) {
	t.Helper()
	if o.perform == nil {
		o.perform = idle
	}
	playKind(t, toyKind(o.perform), o, story)
}

// playKind is play for a toy with some functions replaced.
func playKind(t *testing.T, kind entity.Kind[toy], o options, story func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if o.journal == nil {
			o.journal = &entitytest.Journal{}
		}
		s := &stage{t: t, journal: o.journal, seen: &watcher{}, log: &strings.Builder{}, crashes: new(atomic.Int32)}
		log := slog.New(slog.NewTextHandler(s.log, nil))
		s.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(slog.NewTextHandler(io.Discard, nil))
		}))
		if o.store == nil {
			o.store = o.journal
		}
		n := 0
		props := entity.Props(kind, toyID, entity.Options{Journal: o.store, Clock: entitytest.Clock{}, Observer: s.seen, Log: log,
			NewID: func() string { n++; return fmt.Sprintf("id-%d", n) }, SnapshotEvery: o.snapshotEvery})
		born := make(chan *actor.PID, 1)
		s.parent = s.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Started); ok {
				born <- c.Spawn(props)
			}
		}, actor.WithSupervisor(restartAfterASecond{s.crashes})))
		s.pid = <-born
		synctest.Wait()
		story(s)
		_ = s.system.Root.PoisonFuture(s.parent).Wait()
		s.system.Shutdown()
		time.Sleep(time.Minute) // the library counts dead letters on a ticker of its own
	})
}

// ask sends a command and settles.
func (s *stage) ask(c proto.Message) (messages.Reply, error) {
	r, err := s.system.Root.RequestFuture(s.pid, entity.Envelope{Command: c}, time.Minute).Result()
	if err != nil {
		return messages.Reply{}, err
	}
	synctest.Wait()
	res := r.(entity.Result)
	if res.Err != nil {
		return res.Reply, res.Err
	}
	return res.Reply, nil
}

func (s *stage) must(c proto.Message) messages.Reply {
	s.t.Helper()
	r, err := s.ask(c)
	if err != nil {
		s.t.Fatalf("%T: %v", c, err)
	}
	return r
}

func (s *stage) refused(c proto.Message, code messages.Code) {
	s.t.Helper()
	if r, err := s.ask(c); messages.CodeOf(err) != code {
		s.t.Fatalf("%T was answered with %v, %v; want %s", c, r, err, code)
	}
}

func (s *stage) state() *messages.StateReply {
	s.t.Helper()
	return s.must(&messages.QueryView{}).Answer.(*messages.StateReply)
}

// wait lets virtual time pass.
func (s *stage) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *stage) appended() int { return len(s.journal.Of(toyID)) }

func newJournal(fail func(entity.Append) error) *entitytest.Journal {
	return &entitytest.Journal{Fail: fail}
}

var errTry = errors.New("this try failed")
