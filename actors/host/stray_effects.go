package host

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"modelops/actors/entity"
	"modelops/messages"
)

// Owned finds and ends workers that carry this data directory's identity, whatever the journal says.
type Owned interface {
	// Owned lists the living ones, each with its nonce. The error tells that the list may not be whole.
	Owned(ctx context.Context) ([]*messages.Worker, error)
	// Stop ends a worker and all that it started; nil when it is gone, and only then.
	Stop(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error
}

const (
	// straysHold is how long strays that don't end hold the start up. They are ended beside it afterwards.
	straysHold = 20 * time.Second
	strayPause = time.Second
)

// Strays ends the workers that no model's and no job's journal knows: the journal was lost, or an older one was restored. Each one is reported to the host
// when it is found and can't be ended, and when it has ended.
type Strays struct {
	Host  string
	Views Views
	// Jobs shows the jobs that have memory: their runners are no strays. nil = there are none.
	Jobs    func() []*messages.JobView
	Workers Owned
	Door    messages.Door
	Log     *slog.Logger

	told map[string]bool // nonces of those that were reported as running

	mu     sync.Mutex
	living map[string]staying // those that didn't end, by log: several may hide their pids
}

// staying is a stray that didn't end.
type staying struct {
	pid int64 // 0 = hidden
	why string
}

// Living are the processes of strays that can't be ended. They hold memory that no model's lease covers.
func (s *Strays) Living() (out []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.living {
		out = append(out, l.pid)
	}
	slices.Sort(out)
	return out
}

// Refuses is why no worker may start whose log lies in a folder: one that no journal knows writes to a log there, so it is the same model's.
// It is nil for other models, and once the unknown one has ended.
func (s *Strays) Refuses(folder string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for log, l := range s.living {
		if filepath.Dir(log) == folder {
			return messages.Errorf(messages.ModelLoadError, log, "a worker of this model that no journal knows lives and can't be ended: %s", l.why).WithRetry(straysHold).
				WithHint("end it by hand (fuser -v " + log + " shows it to root); the model is loaded again afterwards")
		}
	}
	return nil
}

// Reasons say which strays can't be ended, and why.
func (s *Strays) Reasons() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, log := range slices.Sorted(maps.Keys(s.living)) {
		l := s.living[log]
		who := fmt.Sprintf("pid %d", l.pid)
		if l.pid == 0 {
			who = "its pid is hidden"
		}
		out = append(out, fmt.Sprintf("a worker that no journal knows (%s) can't be ended, and its memory counts as foreign use: %s", who, l.why))
	}
	return out
}

func (s *Strays) left(living map[string]staying) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.living = living
}

// Await ends strays until none is left. It is called when all actors of the journal are back and before placement is enabled, so that no second
// worker starts beside an unknown one. After straysHold it returns, and the rest is ended beside the start: until then it is among the Living.
func (s *Strays) Await(ctx context.Context, beside func(func(context.Context))) {
	limited, cancel := context.WithTimeout(ctx, straysHold)
	defer cancel()
	if !s.untilEnded(limited) {
		beside(func(life context.Context) { s.untilEnded(life) })
	}
}

func (s *Strays) untilEnded(ctx context.Context) bool {
	for !s.End(ctx) {
		if entity.Pause(ctx, strayPause) != nil {
			return false
		}
	}
	return true
}

// End ends the strays that there are now; true when none is left.
func (s *Strays) End(ctx context.Context) bool {
	owned, err := s.Workers.Owned(ctx)
	if err != nil {
		s.Log.Warn("it can't be told whether workers run that no journal knows", "error", err)
	}
	known := map[string]bool{}
	for _, m := range s.Views.ModelsOf(s.Host) { // after the list: a worker that started meanwhile isn't on it
		known[m.Nonce], known[m.Worker.GetNonce()] = true, true
	}
	if s.Jobs != nil {
		for _, j := range s.Jobs() {
			known[j.Nonce] = true
		}
	}
	living := map[string]staying{}
	for _, w := range owned {
		if w.Nonce != "" && known[w.Nonce] {
			continue
		}
		if why := s.end(ctx, w); why != nil {
			living[cmp.Or(w.LogPath, w.Nonce, strconv.FormatInt(w.Pid, 10))] = staying{w.Pid, why.Error()}
		}
	}
	if err == nil { // else those that were seen before may live
		s.left(living)
	}
	return err == nil && len(living) == 0
}

// end is nil when a stray is gone.
func (s *Strays) end(ctx context.Context, w *messages.Worker) error {
	stray := &messages.ReportStray{Pid: w.Pid, Nonce: w.Nonce}
	failed := s.Workers.Stop(ctx, nil, w)
	if failed != nil && w.Pid == 0 { // else it is the end of the wait, which says nothing of the worker
		failed = fmt.Errorf("a process that can't be looked at writes to %s: end it by hand (fuser -v on that file shows it to root); it is tried again", w.LogPath)
	}
	if failed != nil {
		stray.Reason = failed.Error()
		if s.told[w.Nonce] {
			return failed
		}
	}
	if s.told == nil {
		s.told = map[string]bool{}
	}
	s.told[w.Nonce] = true
	if _, err := s.Door.Ask(ctx, messages.HostActor(s.Host), stray); err != nil {
		s.Log.Error("a worker that no journal knows can't be reported", "pid", w.Pid, "error", err)
	}
	return failed
}
