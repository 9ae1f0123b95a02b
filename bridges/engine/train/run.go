package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"time"
)

// ErrStopped is how a run ends that was asked to stop: it can be resumed.
var ErrStopped = errors.New("the run was stopped before its last step")

// reportEvery is the least time between two reports of progress; the first and the last step are always reported.
const reportEvery = 250 * time.Millisecond

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// run is one that is under way.
type run struct {
	Options
	clock
	*model
	learner  *learner[float32]
	settings settings
	shelf    *shelf // nil: no checkpoints
	unlock   func()
	examples []example
	held     []example // to evaluate on
	refs     []reference
	order    order

	step    int
	loss    float64
	metrics map[string]float64 // of the last step

	from     int // the first step of this process
	began    time.Time
	tokens   int
	reported time.Time
}

// Run trains and writes the model. When ctx ends it finishes the step, writes a checkpoint and returns ErrStopped. An error
// is reported as the last event too.
func Run(ctx context.Context, o Options) error {
	if o.Report == nil {
		o.Report = func(any) {}
	}
	err := start(ctx, o)
	if err != nil && !errors.Is(err, ErrStopped) {
		o.Report(failed(err))
	}
	return err
}

func start(ctx context.Context, o Options) error {
	r := &run{clock: clock{time.Now()}, unlock: func() {}}
	var err error
	if r.Options, err = o.normal(); err != nil {
		return err
	}
	err = r.open(ctx)
	defer r.unlock()
	if err == nil {
		err = r.resume()
	}
	if err != nil {
		return err
	}
	return r.train(ctx)
}

// open reads everything and refuses what can't end well, before the first step. It doesn't end early when ctx does: only a
// run that knows where it stands can say at which step it stopped.
func (r *run) open(ctx context.Context) (err error) {
	if r.model, err = openModel(context.WithoutCancel(ctx), "--base", r.Base, r.MaxLength, r.Threads); err != nil {
		return err
	}
	pairs := r.Method == DPO
	var data, sum string
	if r.examples, data, err = r.reader.file(r.Data, &pairs); err != nil {
		return err
	}
	if r.Eval != "" {
		if r.held, _, err = r.reader.file(r.Eval, nil); err != nil {
			return err
		}
	}
	if sum, err = hashFile(r.Base); err != nil {
		return err
	}
	r.settings = r.Options.settings(sum, data)
	r.order = order{seed: r.Seed, rows: len(r.examples)}
	if err := memory(memoryNeed(r.net, r.Rank, r.Targets)); err != nil {
		return err
	}
	if r.Method == DPO {
		r.refs = references(r.net, r.examples, r.MicroBatch, func() bool { return ctx.Err() != nil })
	}
	r.learner = newLearner(r.net, r.Rank, r.Alpha, r.Targets, r.Seed)
	if err := room("--out", filepath.Dir(r.Out), layout(r.weights).size()+1<<20); err != nil {
		return err
	}
	return r.openShelf()
}

// openShelf makes sure that the directory of checkpoints is this run's alone and has room.
func (r *run) openShelf() error {
	if r.Checkpoints == "" {
		return nil
	}
	if err := os.MkdirAll(r.Checkpoints, 0o755); err != nil {
		return wrong("--checkpoints", "%v", err)
	}
	unlock, err := lock(r.Checkpoints)
	if err != nil {
		return err
	}
	r.unlock, r.shelf = unlock, &shelf{r.Checkpoints, r.Keep}
	steps, err := r.shelf.steps()
	if err != nil {
		return wrong("--checkpoints", "%v", err)
	}
	if len(steps) > 0 && r.Resume == "" {
		return wrong("--checkpoints", "%s has checkpoints of an earlier run", r.Checkpoints).hint("--resume auto continues it; otherwise choose another directory")
	}
	need := int64(max(1, r.Keep+1-len(steps))) * checkpointSize(r.learner.params) // one more than stay, while it is written
	if sameDisk(r.Checkpoints, filepath.Dir(r.Out)) {
		need += layout(r.weights).size()
	}
	return room("--checkpoints", r.Checkpoints, need)
}

// resume restores what --resume asks for, and reports where the run begins.
func (r *run) resume() error {
	params, trainable := int64(0), int64(0)
	for _, t := range r.net.tensors {
		params += int64(len(t.w))
	}
	for _, p := range r.learner.params {
		trainable += int64(len(p.w))
	}
	r.Report(StartEvent{Event: "start", T: r.t(), PID: pid(), Method: r.Method, Total: r.Steps, Params: params, Trainable: trainable, Rows: len(r.examples),
		EvalRows: len(r.held), Batch: r.Batch, Seed: r.Seed, Threads: r.Threads, DataSHA256: r.settings.Data, BaseSHA256: r.settings.Base})
	path, h, err := r.restore()
	if err != nil || path == "" {
		return err
	}
	r.step = h.Step
	r.learner.merge()
	if err := r.learner.finite(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	r.Report(StepEvent{Event: "resumed", T: r.t(), Step: r.step, Total: r.Steps, Path: path})
	return nil
}

// restore reads the checkpoint that is asked for; with auto the latest one that is whole, or none.
func (r *run) restore() (string, header, error) {
	switch r.Resume {
	case "":
		return "", header{}, nil
	default:
		h, err := readCheckpoint(r.Resume, r.settings, r.learner.params)
		var damaged *damagedError
		if errors.As(err, &damaged) {
			err = wrong("--resume", "%v", err)
		}
		return r.Resume, h, err
	case "auto":
	}
	steps, err := r.shelf.steps()
	for _, step := range steps {
		var h header
		h, err = readCheckpoint(r.shelf.path(step), r.settings, r.learner.params)
		var damaged *damagedError
		if !errors.As(err, &damaged) {
			return r.shelf.path(step), h, err
		}
		r.Report(MessageEvent{Event: "warning", Message: err.Error()})
		err = nil
	}
	return "", header{}, err
}

func (r *run) train(ctx context.Context) error {
	if r.step == 0 {
		if _, err := r.evaluation(ctx); err != nil {
			return r.stopped(ctx, err)
		}
	}
	r.began, r.from = time.Now(), r.step
	for r.step < r.Steps {
		if ctx.Err() != nil {
			return r.stopped(ctx, ctx.Err())
		}
		if err := r.learn(); err != nil {
			return err
		}
		asked := false
		select {
		case _, asked = <-r.Save:
		default:
		}
		if asked || r.shelf != nil && r.step%r.CheckpointEvery == 0 && r.step < r.Steps && ctx.Err() == nil {
			if err := r.checkpoint(); err != nil {
				return err
			}
		}
	}
	scores, err := r.evaluation(ctx)
	if err != nil {
		return r.stopped(ctx, err)
	}
	return r.finish(scores)
}

// learn does one step.
func (r *run) learn() error {
	var batch []*example
	var refs []reference
	for i := range r.Batch {
		at := r.order.at(r.step*r.Batch + i)
		batch = append(batch, &r.examples[at])
		if r.Method == DPO {
			refs = append(refs, r.refs[at])
		}
	}
	var out outcome
	if r.Method == DPO {
		out = preferred(r.net, batch, refs, r.Beta, r.MicroBatch)
	} else {
		out = supervised(r.net, batch, r.MicroBatch)
	}
	r.learner.collect()
	norm := gradientNorm(r.net.team, r.learner.params)
	if !finite(out.loss) || !finite(norm) {
		return fmt.Errorf("step %d: the loss is %v and the gradient %v: try a lower --lr", r.step+1, out.loss, norm)
	}
	scale := 1.0
	if r.Clip > 0 {
		scale = min(1, r.Clip/(norm+1e-6))
	}
	r.step++
	lr := rateAt(r.Schedule, r.LR, r.Warmup, r.step, r.Steps)
	update(r.net.team, r.learner.params, lr, r.WeightDecay, scale, r.step)
	r.learner.merge()
	r.loss, r.metrics, r.tokens = out.loss, out.metrics, r.tokens+out.tokens
	r.progress(lr)
	return nil
}

func (r *run) progress(lr float64) {
	now := time.Now()
	if r.step != 1 && r.step != r.Steps && now.Sub(r.reported) < reportEvery {
		return
	}
	r.reported = now
	spent := max(now.Sub(r.began).Seconds(), 1e-9)
	r.Report(ProgressEvent{Event: "progress", T: r.t(), Step: r.step, Total: r.Steps, Loss: short(r.loss), LR: short(lr), TokS: math.Round(float64(r.tokens) / spent),
		EtaS: math.Round(10*spent/float64(r.step-r.from)*float64(r.Steps-r.step)) / 10, RSSMB: residentMB(), Metrics: shortened(r.metrics)})
}

// checkpoint writes one after the present step.
func (r *run) checkpoint() error {
	if r.shelf == nil {
		r.Report(MessageEvent{Event: "warning", Message: "a checkpoint was asked for, but --checkpoints names no directory"})
		return nil
	}
	began := time.Now()
	file, err := r.shelf.write(header{Step: r.step, Position: r.step * r.Batch, Settings: r.settings}, r.learner.params)
	if err == nil {
		r.Report(CheckpointEvent{Event: "checkpoint", T: r.t(), Step: r.step, File: file, MS: time.Since(began).Milliseconds()})
	}
	return err
}

// stopped ends a run that ctx interrupted; any other err is a failure.
func (r *run) stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	if r.shelf != nil {
		if err := r.checkpoint(); err != nil {
			return err
		}
	}
	r.Report(StepEvent{Event: "stopped", T: r.t(), Step: r.step, Total: r.Steps})
	return ErrStopped
}

// evaluation scores the held-out rows, if there are any.
func (r *run) evaluation(ctx context.Context) (*Scores, error) {
	if r.held == nil {
		return nil, nil
	}
	s, err := r.evaluate(ctx, r.held)
	if err == nil {
		r.Report(EvalEvent{Event: "eval", T: r.t(), Step: r.step, Scores: s})
	}
	return &s, err
}

func (r *run) finish(scores *Scores) error {
	if err := r.learner.finite(); err != nil {
		return err
	}
	file, err := writeModel(r.Out, r.weights)
	if err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	metrics := map[string]float64{"loss": r.loss}
	maps.Copy(metrics, r.metrics)
	if scores != nil {
		maps.Copy(metrics, scores.metrics())
	}
	r.Report(DoneEvent{Event: "done", T: r.t(), Step: r.step, Artifact: &file, Metrics: shortened(metrics)})
	return nil
}
