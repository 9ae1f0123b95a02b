package host

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// found are the workers of a data directory. Those in stays don't end so many times.
type found struct {
	workers []*messages.Worker
	stays   map[string]int
	unseen  int // how often the list isn't whole
	ended   []string
}

func (f *found) Owned(context.Context) ([]*messages.Worker, error) {
	if f.unseen > 0 {
		f.unseen--
		return nil, errors.New("no descriptors")
	}
	return slices.Clone(f.workers), nil
}

func (f *found) Stop(_ context.Context, _ *messages.ModelSpec, w *messages.Worker) error {
	if f.stays[w.Nonce] > 0 {
		f.stays[w.Nonce]--
		return errors.New("it hangs")
	}
	f.ended = append(f.ended, w.Nonce)
	f.workers = slices.DeleteFunc(f.workers, func(o *messages.Worker) bool { return o.Nonce == w.Nonce })
	return nil
}

// strayReports notes what the host is told.
type strayReports struct{ told []string }

func (r *strayReports) Ask(_ context.Context, _ messages.ActorID, m proto.Message) (messages.Reply, error) {
	s := m.(*messages.ReportStray)
	r.told = append(r.told, s.Nonce+": "+s.Reason)
	return messages.Reply{}, nil
}

func (r *strayReports) Tell(context.Context, messages.ActorID, proto.Message) {}

// Workers that no journal knows end before placement is enabled; known ones are left alone, also those that are only about to be recorded.
// One that doesn't end is reported once, and ended beside the start.
func TestStraysEndBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &found{stays: map[string]int{"slow": 3, "hung": 30}, unseen: 2}
		for _, n := range []string{"ready", "loads", "stray", "slow", "hung", "", "job"} {
			f.workers = append(f.workers, &messages.Worker{Nonce: n, Pid: int64(len(n))})
		}
		views := shown{models: []*messages.ModelView{{Name: "a", Nonce: "ready", Worker: &messages.Worker{Nonce: "ready"}}, {Name: "b", Nonce: "loads"}, {Name: "c"}}}
		r := &strayReports{}
		s := &Strays{Host: "h", Views: views, Workers: f, Door: r, Log: slog.New(slog.DiscardHandler),
			Jobs: func() []*messages.JobView {
				return []*messages.JobView{{Id: "job/h/tune", Nonce: "job"}, {Id: "job/h/waits"}}
			}}
		var beside func(context.Context)
		began := time.Now()
		s.Await(t.Context(), func(later func(context.Context)) { beside = later })
		if took := time.Since(began); took != straysHold || beside == nil {
			t.Fatalf("the start was held up for %s", took)
		}
		if got, why := s.Living(), s.Reasons(); !slices.Equal(got, []int64{4}) || len(why) != 1 || !strings.Contains(why[0], "(pid 4) can't be ended") || !strings.HasSuffix(why[0], "it hangs") {
			t.Errorf("when placement is enabled, %d live: %q", got, why)
		}
		beside(t.Context())
		if len(s.Living()) != 0 || len(s.Reasons()) != 0 {
			t.Errorf("at the end, %d live", s.Living())
		}
		if want := []string{"stray", "", "slow", "hung"}; !slices.Equal(f.ended, want) {
			t.Errorf("ended %q", f.ended)
		}
		if want := []string{"stray: ", "slow: it hangs", "hung: it hangs", ": ", "slow: ", "hung: "}; !slices.Equal(r.told, want) {
			t.Errorf("told %q", r.told)
		}
	})
}

// Workers that hide are named by their logs, each one, with what to do: how long the start waited for them says nothing.
func TestHiddenStraysAreNamedByTheirLogs(t *testing.T) {
	f := &found{stays: map[string]int{"a": 9, "b": 9}, workers: []*messages.Worker{{Nonce: "a", LogPath: "/logs/m/1-a.log"}, {Nonce: "b", LogPath: "/logs/m/2-b.log"}}}
	s := &Strays{Host: "h", Views: shown{}, Workers: f, Door: &strayReports{}, Log: slog.New(slog.DiscardHandler)}
	if s.End(t.Context()) || !slices.Equal(s.Living(), []int64{0, 0}) {
		t.Error(s.Living())
	}
	if err := s.Refuses("/logs/m"); messages.CodeOf(err) != messages.ModelLoadError || messages.AsError(err).Retry == 0 || s.Refuses("/logs/other") != nil || s.Refuses("") != nil {
		t.Errorf("a start beside them: %v", err)
	}
	why := s.Reasons()
	if len(why) != 2 || !strings.Contains(why[0], "writes to /logs/m/1-a.log: end it by hand") || !strings.Contains(why[1], "2-b.log") || strings.Contains(why[0], "it hangs") {
		t.Errorf("%q", why)
	}
	f.stays = nil
	if !s.End(t.Context()) || s.Refuses("/logs/m") != nil {
		t.Error("the model can't be started after their end")
	}
}
