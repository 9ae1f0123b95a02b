package simulator

import (
	"context"
	"slices"
	"time"

	"modelops/actors/model"
	"modelops/messages"
)

// fate is what a worker will come to while it loads.
type fate int

const (
	loads fate = iota
	dies
	hangs
)

// loadTimeout ends a load that doesn't come to an end; stopLongest is the grace before SIGKILL.
const (
	loadTimeout = time.Minute
	stopLongest = 5 * time.Second
)

// worker is a process of the false world. It outlives the coordinator.
type worker struct {
	pid       int64
	model     int
	nonce     string
	parts     []part
	born      time.Duration
	ready     bool
	hung      bool
	dead      bool
	stopping  bool
	asleep    bool
	condition condition
	seen      int // the coordinator's life that saw it die
	failure   error
}

// part is what a worker holds of one device, and the lease for it.
type part struct {
	device int
	lease  string
	bytes  uint64
	awake  uint64 // bytes that it takes when it wakes up
}

func (k *worker) bytes() (sum uint64) {
	for _, p := range k.parts {
		sum += p.bytes
	}
	return sum
}

// on is what it holds of a device; ok is false when it isn't there.
func (k *worker) on(device int) (bytes uint64, ok bool) {
	for _, p := range k.parts {
		if p.device == device {
			return p.bytes, true
		}
	}
	return 0, false
}

// runtime is the model's port to workers.
type runtime struct{ w *World }

// Need implements model.Runtime.
func (r runtime) Need(_ context.Context, spec *messages.ModelSpec) (*messages.Need, error) {
	return &messages.Need{Bytes: r.w.modelNamed(spec.Name).Estimate, Source: messages.Need_estimated}, nil
}

// Start implements model.Runtime.
func (r runtime) Start(ctx context.Context, spec *messages.ModelSpec, p *messages.Placement, nonce string) (*messages.Worker, error) {
	w := r.w
	k := w.withNonce(nonce)
	if k == nil {
		if w.mishap(w.o.Faults.StartFails) {
			return nil, messages.NewError(messages.ModelLoadError, p.Holder, "the program can't be started").WithRetry(time.Second)
		}
		k = w.spawn(w.indexOf(p.Holder), p, nonce)
	}
	if w.mishap(w.o.Faults.StartFails) { // it runs, but the answer is lost
		w.after(time.Second, func() { w.poke("start/" + nonce) })
		return nil, notYet(ctx, "start/"+nonce)
	}
	return k.message(), nil
}

func (k *worker) message() *messages.Worker { return &messages.Worker{Pid: k.pid, Nonce: k.nonce} }

func (w *World) spawn(i int, p *messages.Placement, nonce string) *worker {
	m, name := w.declared(i), w.models[i].id
	w.ids++
	k := &worker{pid: int64(w.ids), model: i, nonce: nonce, born: w.elapsed}
	for _, x := range p.Shares {
		if gpu := w.devices[w.deviceOf(x.Gpu)]; gpu.id.Host() != w.models[i].id.Host() {
			w.violated("%s starts a worker on %s, which is another host's device", w.models[i].id, gpu.id)
		}
		k.parts = append(k.parts, part{w.deviceOf(x.Gpu), x.Lease, m.Truth / uint64(len(p.Shares)), 0})
	}
	for _, other := range w.workers {
		if other.model == i {
			w.violated("%s gets worker %d while its worker %d is alive", name, k.pid, other.pid)
		}
	}
	w.workers = append(w.workers, k)
	w.tally.loads++
	w.say("worker %d of %s starts on gpu%d", k.pid, name, k.parts[0].device)
	took, f := time.Duration(float64(m.Load)*(0.8+0.4*w.rng.Float64())), w.fated()
	switch f {
	case loads:
		w.after(took, func() { w.loaded(k) })
	case dies:
		w.after(took/2, func() { w.die(k, "it found its file broken") })
	case hangs:
		k.hung = true
	}
	w.after(loadTimeout, func() {
		if !k.dead && !k.ready {
			k.failure = messages.NewError(messages.DeadlineExceeded, m.Name, "the load took too long").WithRetry(time.Second)
			w.poke("ready/" + k.nonce)
		}
	})
	return k
}

func (w *World) fated() fate {
	switch f := w.o.Faults; {
	case w.mishap(f.LoadDies):
		return dies
	case w.mishap(f.LoadHangs):
		return hangs
	}
	return loads
}

var errOutOfMemory = messages.NewError(messages.ModelLoadError, "worker", "out of memory").WithRetry(time.Second)

func outOfMemory(err error) bool { return err == errOutOfMemory }

// loaded ends a load: it holds its memory, or there isn't enough.
func (w *World) loaded(k *worker) {
	if k.dead || k.stopping || k.hung {
		return
	}
	for _, p := range k.parts {
		if w.used(p.device) > w.devices[p.device].capacity {
			k.failure = errOutOfMemory
			w.tally.oom++
			w.die(k, "out of memory")
			return
		}
	}
	k.ready = true
	w.say("worker %d answers", k.pid)
	w.poke("ready/" + k.nonce)
}

// die ends a process. The driver sees its memory free a little later.
func (w *World) die(k *worker, why string) {
	if k.dead {
		return
	}
	k.dead, k.seen = true, w.boot
	if w.down {
		k.seen = -1
	}
	w.exited[k.nonce] = k
	w.after(time.Hour, func() { delete(w.exited, k.nonce) })
	if k.failure == nil {
		k.failure = messages.NewError(messages.ModelLoadError, w.models[k.model].id.String(), "the worker exited: "+why).WithRetry(time.Second)
	}
	w.say("worker %d of %s dies: %s", k.pid, w.models[k.model].id, why)
	w.workers = slices.DeleteFunc(w.workers, func(other *worker) bool { return other == k })
	if w.mishap(w.o.Faults.SlowDriver) {
		for _, p := range k.parts {
			w.lag(p.device, p.bytes)
		}
	}
	w.frontOf(k.model).bereaved(w.models[k.model].id)
	w.poke("ready/" + k.nonce)
	w.poke("exit/" + k.nonce)
}

// withNonce finds a live worker.
func (w *World) withNonce(nonce string) *worker {
	for _, k := range w.workers {
		if k.nonce == nonce {
			return k
		}
	}
	return nil
}

// AwaitReady implements model.Runtime.
func (r runtime) AwaitReady(ctx context.Context, spec *messages.ModelSpec, worker *messages.Worker) (uint64, uint32, error) {
	k := r.w.withNonce(worker.Nonce)
	switch {
	case k == nil:
		return 0, 0, r.w.exitError(spec.Name, worker)
	case k.failure != nil:
		return 0, 0, k.failure
	case k.ready:
		return k.bytes(), uint32(r.w.declared(k.model).places()), nil
	}
	return 0, 0, notYet(ctx, "ready/"+worker.Nonce)
}

// exitError says why a worker is gone, while that is known.
func (w *World) exitError(name string, worker *messages.Worker) error {
	if k := w.exited[worker.Nonce]; k != nil {
		return k.failure
	}
	return messages.NewError(messages.ModelLoadError, name, "the worker is gone").WithRetry(time.Second)
}

// Watch implements model.Runtime. A death that no coordinator saw is unwitnessed.
func (r runtime) Watch(ctx context.Context, worker *messages.Worker) (model.Exit, error) {
	w := r.w
	if w.withNonce(worker.Nonce) != nil {
		return model.Exit{}, notYet(ctx, "exit/"+worker.Nonce)
	}
	if k := w.exited[worker.Nonce]; k != nil && k.seen == w.boot {
		return model.Exit{Code: 1, Reason: "exited"}, nil
	}
	return model.Exit{Code: -1, Reason: "gone", Unwitnessed: true}, nil
}

// Stop implements model.Runtime: SIGTERM, patience, SIGKILL.
func (r runtime) Stop(ctx context.Context, _ *messages.ModelSpec, worker *messages.Worker) error {
	w := r.w
	k := w.withNonce(worker.Nonce)
	if k == nil {
		return nil
	}
	if !k.stopping {
		k.stopping = true
		takes := w.latency()
		if k.hung || w.mishap(w.o.Faults.SlowStop) {
			takes = stopLongest
		}
		w.after(takes, func() { w.die(k, "it was stopped") })
	}
	return notYet(ctx, "exit/"+worker.Nonce)
}

// Sleep implements model.Runtime.
func (r runtime) Sleep(_ context.Context, spec *messages.ModelSpec, worker *messages.Worker) (uint64, error) {
	k := r.w.withNonce(worker.Nonce)
	switch {
	case k == nil || k.hung:
		return 0, messages.NewError(messages.ModelUnloadError, spec.Name, "the worker doesn't fall asleep")
	case !k.asleep:
		k.asleep = true
		for i := range k.parts {
			k.parts[i].awake = k.parts[i].bytes
			k.parts[i].bytes /= 20
		}
		r.w.say("worker %d falls asleep", k.pid)
	}
	return k.bytes(), nil
}

// Wake implements model.Runtime. It fails where the device has no memory for it.
func (r runtime) Wake(_ context.Context, spec *messages.ModelSpec, worker *messages.Worker) error {
	k := r.w.withNonce(worker.Nonce)
	switch {
	case k == nil || k.hung:
		return messages.NewError(messages.ModelLoadError, spec.Name, "the worker doesn't wake up")
	case !k.asleep:
		return nil
	}
	for _, p := range k.parts {
		if r.w.used(p.device)-p.bytes+p.awake > r.w.devices[p.device].capacity {
			return messages.NewError(messages.ModelLoadError, spec.Name, "out of memory")
		}
	}
	k.asleep = false
	for i := range k.parts {
		k.parts[i].bytes = k.parts[i].awake
	}
	r.w.say("worker %d wakes up", k.pid)
	return nil
}

// Find implements model.Runtime.
func (r runtime) Find(_ context.Context, nonce string) (*messages.Worker, error) {
	if k := r.w.withNonce(nonce); k != nil {
		return k.message(), nil
	}
	return nil, nil
}
