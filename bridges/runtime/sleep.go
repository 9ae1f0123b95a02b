package runtime

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

const (
	sleepTime  = 2 * time.Minute // moving the weights of a large model to RAM and back
	sleepGrace = 10 * time.Second
)

// CanSleep tells whether the model's engine can give its memory back and stay: vllm and llama.cpp when the model declares sleep, or has
// --enable-sleep-mode or --sleep-idle-seconds among its arguments.
func (r *Runtime) CanSleep(spec *messages.ModelSpec) bool {
	spec = r.resolved(spec)
	k, err := r.kindOf(spec)
	return err == nil && k.canSleep(spec)
}

func (k kind) canSleep(spec *messages.ModelSpec) bool {
	return k.sleep != nil && (flagsOf(spec).has(k.sleep.flag) || spec.GetSleepMs() > 0)
}

// Sleep puts the worker to sleep and returns when it says that it does. Its requests must have ended: vLLM aborts what
// still runs. llama.cpp has no sleep command and falls asleep by itself after its idle time; Sleep waits for that.
// holds is what the worker still holds on its devices, in bytes. Unsupported when CanSleep is false, ModelUnloadError when it
// stays awake.
func (r *Runtime) Sleep(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (holds uint64, err error) {
	spec = r.resolved(spec)
	k, err := r.sleeper(spec, w)
	if err != nil {
		return 0, err
	}
	limit, err := k.timeToSleep(spec)
	if err != nil {
		return 0, err
	}
	if err := r.setAsleep(ctx, k, spec, w, k.sleep.down, limit, true); err != nil {
		return 0, err
	}
	if r.o.MeasureAsleep != nil {
		if holds, known, err := r.o.MeasureAsleep(w.Pid); known {
			return holds, err
		}
	}
	return r.Used(ctx, spec, w)
}

// timeToSleep is how long falling asleep may take. Unsupported when the model's arguments switch sleep off.
func (k kind) timeToSleep(spec *messages.ModelSpec) (time.Duration, error) {
	if k.sleep.down != "" {
		return sleepTime, nil
	}
	idle, ok := flagsOf(spec).number(k.sleep.flag)
	if sleepFlag(k, spec) != "" { // the engine was given what the model declares
		idle, ok = uint64(spec.GetSleepMs()+999)/1000, true
	}
	if !ok {
		return 0, messages.Errorf(messages.Unsupported, subject(spec), "%s is switched off, so it never sleeps", k.sleep.flag).
			WithHint("give it a number of seconds")
	}
	return time.Duration(min(idle, 86400))*time.Second + sleepGrace, nil
}

// Wake wakes the worker, has it answer one tiny request and returns. It is nil for one that is awake.
func (r *Runtime) Wake(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error {
	spec = r.resolved(spec)
	k, err := r.sleeper(spec, w)
	if err != nil {
		return err
	}
	if k.sleep.up == "" {
		if err := r.warmUp(ctx, k, spec, w); err != nil {
			return err
		}
	}
	if err := r.setAsleep(ctx, k, spec, w, k.sleep.up, sleepTime, false); err != nil {
		return err
	}
	return r.warmUp(ctx, k, spec, w)
}

// Asleep tells whether the worker sleeps; false for engines that don't.
func (r *Runtime) Asleep(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (bool, error) {
	spec = r.resolved(spec)
	if !r.CanSleep(spec) {
		return false, nil
	}
	k, err := r.sleeper(spec, w)
	if err != nil {
		return false, err
	}
	asleep, a := r.asleep(ctx, k, spec, w)
	if a.status != http.StatusOK {
		return false, messages.Errorf(messages.Unavailable, subject(spec), "%s%s: %s", w.Url, k.sleep.asks, a.words())
	}
	return asleep, nil
}

func (r *Runtime) asleep(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker) (bool, answer) {
	a := r.ask(ctx, spec, w, k.sleep.asks)
	var said struct {
		Sleeping bool `json:"is_sleeping"`
	}
	_ = json.Unmarshal(a.body, &said)
	return said.Sleeping, a
}

// sleeper is the kind of a worker that can sleep and that proved its identity.
func (r *Runtime) sleeper(spec *messages.ModelSpec, w *messages.Worker) (kind, error) {
	k, err := r.kindOf(spec)
	if err != nil {
		return kind{}, err
	}
	if !k.canSleep(spec) {
		e := messages.Errorf(messages.Unsupported, subject(spec), "%s can't sleep", k.name)
		if k.sleep != nil {
			e = e.WithHint("declare sleep, or add " + k.sleep.flag + " to its args")
		}
		return kind{}, e
	}
	return k, r.proven(spec, w)
}

// setAsleep sends the request for sleeping or waking, when the engine has one, and waits until the engine reports it.
func (r *Runtime) setAsleep(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker, word string, limit time.Duration, want bool) error {
	until := time.Now().Add(limit)
	failed := func(a answer) error {
		code, what := messages.ModelLoadError, "wake"
		if want {
			code, what = messages.ModelUnloadError, "fall asleep"
		}
		return messages.Errorf(code, subject(spec), "the worker doesn't %s: %s", what, a.words()).
			WithHint("read the worker's log: " + w.LogPath).WithCause(a.err)
	}
	if is, _ := r.asleep(ctx, k, spec, w); is == want {
		return nil
	}
	if word != "" {
		if a := r.postWithin(ctx, limit, spec, w, request{path: word}); a.status/100 != 2 {
			return failed(a)
		}
	}
	for {
		is, a := r.asleep(ctx, k, spec, w)
		switch {
		case a.status == http.StatusOK && is == want:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(until):
			return failed(a)
		}
		if err := process.Sleep(ctx, pollSlow); err != nil {
			return err
		}
	}
}
