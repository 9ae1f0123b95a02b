package trainer

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"modelops/messages"
)

// lookEvery is the pause between two looks at an attempt's files.
const lookEvery = 100 * time.Millisecond

// Follow waits until an attempt has a checkpoint of a step behind after, verified and copied to where its trainer doesn't write, or its processes are gone, and gives
// its outcome. All its checkpoints come before that. While nothing can be told of the processes it waits on; its error is ctx's. The checkpoint of the step after is
// the acknowledged one: earlier ones are deleted but for as many as the recipe keeps.
func (t *Trainer) Follow(ctx context.Context, a Attempt, r *messages.Runner, after uint64) (*messages.Checkpoint, *messages.JobOutcome, error) {
	t.prune(a, after)
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan string, 1)
	if r.GetPid() == 0 {
		gone <- "its runner was never seen"
	} else {
		go func() {
			if x, err := t.o.Processes.Watch(watching, handleOf(r)); err == nil {
				gone <- x.Reason
			}
		}()
		if t.o.Measure != nil {
			go t.measure(watching, a, r.Pid)
		}
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	seen, size := map[string]bool{}, int64(-1)
	for over, why := false, ""; ; {
		if now := sizeOf(filepath.Join(t.folder(a.Job).attempt(a.Number), reportsFile)); now != size {
			size = now
			if c := t.newest(ctx, a, after, seen); c != nil {
				return c, nil, nil
			}
		}
		if out, err := t.exit(ctx, a); out != nil || err != nil {
			if over || err != nil || ctx.Err() != nil {
				return nil, out, err
			}
		} else if over {
			return nil, &messages.JobOutcome{End: messages.JobOutcome_lost, ExitCode: -1, Reason: "its runner ended without a word: " + why, Retriable: true, LogFile: r.GetLogPath()}, nil
		}
		select {
		case why = <-gone:
			over, size = true, -1 // what it wrote last is read once more
		case <-look.C:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func sizeOf(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return st.Size()
}

// checkpoints are those that an attempt's trainer told of, in their order.
func (t *Trainer) checkpoints(a Attempt) (out []*checkpointSaid) {
	f, err := os.Open(filepath.Join(t.folder(a.Job).attempt(a.Number), reportsFile))
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var x record
		if json.Unmarshal(lines.Bytes(), &x) == nil && x.Checkpoint != nil {
			out = append(out, x.Checkpoint)
		}
	}
	return out
}

// newest is the latest checkpoint beyond a step that can be verified. seen are those that couldn't.
func (t *Trainer) newest(ctx context.Context, a Attempt, beyond uint64, seen map[string]bool) *messages.Checkpoint {
	said := t.checkpoints(a)
	slices.SortStableFunc(said, func(x, y *checkpointSaid) int { return int(int64(y.Step) - int64(x.Step)) })
	for _, c := range said {
		key := c.Path + "@" + c.SHA256
		if c.Step <= beyond || seen[key] {
			continue
		}
		v, err := t.kept(ctx, a.Job, c)
		if err == nil {
			return v
		}
		if ctx.Err() != nil {
			return nil
		}
		seen[key] = messages.CodeOf(err) != messages.Unavailable
		t.o.Log.Warn("a checkpoint doesn't count", "job", a.Job, "attempt", a.Number, "error", err)
	}
	return nil
}

// exit is what an attempt's runner left; nil while it left nothing.
func (t *Trainer) exit(ctx context.Context, a Attempt) (*messages.JobOutcome, error) {
	out := new(messages.JobOutcome)
	if found, err := readJSON(filepath.Join(t.folder(a.Job).attempt(a.Number), exitFile), out); err != nil || !found {
		return nil, err
	}
	out.LogFile = t.folder(a.Job).log(a.Number)
	if t.o.Hide != nil {
		out.Reason = t.o.Hide(out.Reason)
	}
	out.PeakBytes = max(out.PeakBytes, t.peaks.of(a.Nonce))
	if out.End == messages.JobOutcome_done {
		if err := checkArtifacts(ctx, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// keptCheckpoints is how many stay when the recipe doesn't say.
const keptCheckpoints = 2

// prune deletes copies of earlier checkpoints than the acknowledged one, but the latest of them, and what the trainer itself wrote for steps before it. Only what a trainer
// reported, and what lies in the job's folder, is deleted.
func (t *Trainer) prune(a Attempt, acknowledged uint64) {
	if acknowledged == 0 {
		return
	}
	keep := int(cmp.Or(a.Spec.GetRecipe().GetKeepCheckpoints(), keptCheckpoints))
	copies := t.folder(a.Job).copies()
	var old []uint64
	for step := range copies {
		if step < acknowledged {
			old = append(old, step)
		}
	}
	slices.Sort(old)
	for _, step := range old[:max(len(old)-keep+1, 0)] {
		t.forget(copies[step])
	}
	latest := map[string]uint64{}
	for n := uint64(1); n <= a.Number; n++ {
		for _, c := range t.checkpoints(Attempt{Job: a.Job, Number: n}) {
			latest[c.Path] = max(c.Step, latest[c.Path])
		}
	}
	for path, step := range latest {
		if step < acknowledged && inside(t.folder(a.Job).checkpoints(), path) {
			t.forget(path)
		}
	}
}

func (t *Trainer) forget(path string) {
	if err := os.RemoveAll(path); err != nil {
		t.o.Log.Warn("an old checkpoint can't be deleted", "path", path, "error", err)
	}
}
