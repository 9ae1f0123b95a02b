package trainer

import (
	"bufio"
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

// Follow waits until an attempt has a checkpoint of a later step than the acknowledged one, verified, or its processes are gone, and gives its outcome. All its
// checkpoints come before that. While nothing can be told of the processes it waits on; its error is ctx's. Checkpoints before the acknowledged
// one are deleted but for as many as the recipe keeps.
func (t *Trainer) Follow(ctx context.Context, a Attempt, r *messages.Runner, acknowledged *messages.Checkpoint) (*messages.Checkpoint, *messages.JobOutcome, error) {
	t.prune(a, acknowledged)
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
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	seen, size := map[string]bool{}, int64(-1)
	for over, why := false, ""; ; {
		if now := sizeOf(filepath.Join(t.folder(a.Job).attempt(a.Number), reportsFile)); now != size {
			size = now
			if c := t.newest(ctx, a, acknowledged.GetStep(), seen); c != nil {
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
		v, err := t.verified(ctx, a.Job, c)
		if err == nil {
			return v
		}
		if ctx.Err() != nil {
			return nil
		}
		seen[key] = true
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
	out.LogFile = filepath.Join(t.folder(a.Job).attempt(a.Number), "runner.log")
	if out.End == messages.JobOutcome_done {
		if err := checkArtifacts(ctx, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// awaitRecord waits for a checkpoint that the attempt tells of from now on.
func (t *Trainer) awaitRecord(ctx context.Context, a Attempt) {
	before := len(t.checkpoints(a))
	look := time.NewTicker(lookEvery / 2)
	defer look.Stop()
	for len(t.checkpoints(a)) == before {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// keptCheckpoints is how many stay when the recipe doesn't say.
const keptCheckpoints = 2

// prune deletes checkpoints of earlier steps than the acknowledged one, but the latest of them. Only what a trainer reported, and what lies in the job's folder, is deleted.
func (t *Trainer) prune(a Attempt, acknowledged *messages.Checkpoint) {
	if acknowledged == nil {
		return
	}
	keep := int(a.Spec.GetRecipe().GetKeepCheckpoints())
	if keep == 0 {
		keep = keptCheckpoints
	}
	steps := map[string]uint64{}
	for n := uint64(1); n <= a.Number; n++ {
		for _, c := range t.checkpoints(Attempt{Job: a.Job, Number: n}) {
			steps[c.Path] = max(c.Step, steps[c.Path])
		}
	}
	var old []string
	for path, step := range steps {
		if step < acknowledged.Step && path != acknowledged.Path && inside(t.folder(a.Job).checkpoints(), path) {
			old = append(old, path)
		}
	}
	slices.SortFunc(old, func(x, y string) int { return int(int64(steps[y]) - int64(steps[x])) })
	for _, path := range old[min(keep-1, len(old)):] {
		if err := os.RemoveAll(path); err != nil {
			t.o.Log.Warn("an old checkpoint can't be deleted", "path", path, "error", err)
		}
	}
}
