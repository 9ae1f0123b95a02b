package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

const (
	leastLoadTime  = 60 * time.Second
	loadBytesASec  = 20_000_000 // slower loading fails, unless progress is seen
	pollFast       = 20 * time.Millisecond
	pollSlow       = 50 * time.Millisecond
	pollRemote     = 500 * time.Millisecond
	fastPolls      = 250 // 5 s of the fast ones
	progressBytes  = 1 << 20
	patienceFactor = 10 // progress extends the time to at most so many times itself
)

// ExitError is the cause of an AwaitReady that failed because the worker ended.
type ExitError struct{ Exit process.Exit }

func (e *ExitError) Error() string { return e.Exit.Reason }

// ExitCode is the worker's exit code, as in process.Exit.
func (e *ExitError) ExitCode() int32 { return e.Exit.Code }

// AwaitReady polls the worker until it can work and proved that it is ours and has our model, then has it answer one tiny
// request. measured is the most memory that it held so far, in bytes.
// It fails at once when the process ends (the cause is an *ExitError), when another process answers on its port, when it
// has another model, or when it fails at that request; and after the load time: the spec's, else a minute and a second for
// each 20 MB. Progress that the engine reports, reads and growth restart that time. All failures but the end of ctx are
// ModelLoadError with the worker's log, whose lines are not in the error; OutOfMemory tells those by lack of memory. Unavailable tells nothing of
// the worker: it can't be looked at now.
func (r *Runtime) AwaitReady(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (measured uint64, slots uint32, err error) {
	spec = r.resolved(spec)
	ready, err := r.awaitReady(ctx, spec, w)
	return ready.bytes, ready.slots, withLogFile(err, w)
}

// withLogFile says where a failed load's worker wrote. Its lines stay there, because the error is journaled and they may hold secrets.
func withLogFile(err error, w *messages.Worker) error {
	var e *messages.Error
	if !errors.As(err, &e) || e.Code != messages.ModelLoadError || w.LogPath == "" {
		return err
	}
	return e.WithLogFile(w.LogPath)
}

// ready is what a worker showed when it was ready; no slots means that it is not.
type ready struct {
	bytes uint64
	slots uint32
}

func (r *Runtime) awaitReady(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (ready, error) {
	k, err := r.kindOf(spec)
	if err != nil {
		return ready{}, err
	}
	if w.Remote {
		return r.awaitRemote(ctx, k, spec, w)
	}
	g, live, why := r.processes.Open(handleOf(w))
	switch live {
	case process.Unknown:
		return ready{}, cantKnow(spec, why)
	case process.Gone:
		return ready{}, r.endedEarly(ctx, k, spec, w, why)
	}
	defer g.Close()
	p := r.newPatience(k, spec, w)
	slots, err := r.poll(ctx, k, spec, w, g, p)
	if err != nil {
		return ready{}, err
	}
	if err := r.warmed(ctx, k, spec, w, g, p.budget); err != nil {
		return ready{}, err
	}
	return ready{r.measured(ctx, spec, w), slots}, nil
}

// poll asks the worker until it says that it is ready, and how many requests it takes at once then.
func (r *Runtime) poll(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker, g *process.Hold, p *patience) (slots uint32, err error) {
	path := k.checkPath(spec)
	owned := false
	for polls := 0; ; polls++ {
		if g.Ended() {
			return 0, r.endedEarly(ctx, k, spec, w, nil)
		}
		a := answer{}
		if path != "" {
			a = r.askReady(ctx, k, spec, w, path)
		} else if a.err = r.knock(ctx, w); a.err == nil { // nothing is asked: a worker that has opened its port is ready
			a.status = http.StatusOK
		}
		slots, err := r.accept(ctx, k, spec, w, a, &owned)
		if err != nil && g.Ended() { // another process may have a dead worker's port by now: how the worker ended says more
			return 0, r.endedEarly(ctx, k, spec, w, nil)
		}
		if err != nil || slots > 0 {
			return slots, err
		}
		if err := p.check(a, w); err != nil {
			return 0, err
		}
		if err := pause(ctx, polls); err != nil {
			return 0, err
		}
	}
}

// knock connects to the worker's address.
func (r *Runtime) knock(ctx context.Context, w *messages.Worker) error {
	u, err := url.Parse(w.Url)
	if err != nil || w.Port == 0 {
		return nil // there is no address to connect to
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	c, err := dialEither(ctx, "tcp", net.JoinHostPort(u.Hostname(), strconv.Itoa(int(w.Port))))
	if err != nil {
		return err
	}
	return c.Close()
}

// askReady asks whether the worker is ready; releases that don't know the engine's own path are asked another.
func (r *Runtime) askReady(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker, path string) answer {
	a := r.ask(ctx, spec, w, path)
	if a.status == http.StatusNotFound && k.checkOld != "" && path == k.check {
		return r.ask(ctx, spec, w, k.checkOld)
	}
	return a
}

// warmed has the worker answer a first request, within as much time as loading may take without progress.
func (r *Runtime) warmed(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker, g *process.Hold, budget time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	err := r.warmUp(limited, k, spec, w)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return messages.Errorf(messages.ModelLoadError, subject(spec), "the worker is up, but gave no answer to its first request within %s", budget).
			WithHint("read the worker's log: " + w.LogPath).WithCause(errNotReady)
	}
	// A connection breaks a moment before the process that held it is gone.
	soon, stop := context.WithTimeout(ctx, endingTime)
	defer stop()
	if !answered(err) && g.Wait(soon) == nil {
		return r.endedEarly(ctx, k, spec, w, nil)
	}
	return err
}

// endingTime is how long a process may take to end after its connections broke: a core is written meanwhile.
const endingTime = 2 * time.Second

// answered tells whether a failed warm-up got any answer.
func answered(err error) bool {
	e := messages.AsError(err)
	var oom *OutOfMemoryError
	return e.Cause == nil || errors.As(err, &oom) && oom.Cause == nil
}

func pause(ctx context.Context, polls int) error {
	d := pollFast
	if polls > fastPolls {
		d = pollSlow
	}
	return process.Sleep(ctx, d)
}

// accept takes an answer only when the socket it came from is the worker's. owned remembers that it was, because the look-up is
// expensive: while a load goes on it is made once, and again for the answer that says ready. slots is 0 until the worker is ready.
func (r *Runtime) accept(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker, a answer, owned *bool) (slots uint32, err error) {
	if a.status == 0 || *owned && a.status != http.StatusOK {
		return 0, nil
	}
	stranger, checked := r.strangerAt(k, spec, w)
	if stranger != "" {
		if err := r.declaredEngine(ctx, k, spec, w, stranger); err != nil {
			return 0, err
		}
		checked = true
	}
	*owned = checked
	if !checked || a.status != http.StatusOK {
		return 0, nil
	}
	if k.models != "" {
		list := r.ask(ctx, spec, w, k.models)
		if list.status != http.StatusOK {
			return 0, nil
		}
		if err := hasModel(list, spec, w); err != nil {
			return 0, err
		}
	}
	return max(r.slotsOf(ctx, k, spec, w), 1), nil
}

// declaredEngine is nil when another process than the worker answers at an address that the operator declared, and lists the model as its own:
// the engine runs in a container. Otherwise it says what to declare.
func (r *Runtime) declaredEngine(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker, stranger string) error {
	e := messages.Errorf(messages.ModelLoadError, subject(spec), "port %d is answered by %s, not by the worker (pid %d)", w.Port, stranger, w.Pid)
	if !declaresAddress(k, spec) {
		return e.WithHint(fmt.Sprintf("end that process; or, when it is the model's engine, as in a container, declare its address: proxy: %s", w.Url))
	}
	list := r.ask(ctx, spec, w, "/v1/models")
	names := list.names()
	switch {
	case list.status == http.StatusOK && hasModel(list, spec, w) == nil:
		return nil
	case len(names) > 0:
		return e.WithHint(fmt.Sprintf("when it is the model's engine, as in a container, declare the name that it knows the model by: useModelName: %s (its /v1/models lists %q)", names[0], names))
	}
	return e.WithHint("end that process; an engine in a container is believed when its /v1/models lists the model's name, or the one declared as " +
		"useModelName; one that has no such page, and that is started by other means, is declared as runtime: openai with its url")
}

func hasModel(list answer, spec *messages.ModelSpec, w *messages.Worker) error {
	names := list.names()
	for _, n := range names {
		if n == upstreamName(spec) {
			return nil
		}
	}
	return messages.Errorf(messages.ModelLoadError, subject(spec), "the worker on %s has %q, not %q", w.Url, names, upstreamName(spec)).
		WithHint("check useModelName and whether args give the engine another alias")
}

// measured is what the worker held at most while it loaded and answered first: what comes later needs that much again.
func (r *Runtime) measured(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) uint64 {
	bytes, err := r.Peak(ctx, spec, w)
	if err != nil {
		r.log.Warn("a worker's memory can't be measured", "model", spec.Name, "pid", w.Pid, "err", err)
	}
	return bytes
}

// endedEarly tells how a worker ended before it was ready. why is why it did not prove itself, nil when it had.
func (r *Runtime) endedEarly(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker, why error) error {
	exit, err := r.processes.Ended(ctx, handleOf(w), why)
	if err != nil {
		return err
	}
	cause := error(&ExitError{exit})
	text := "the worker was lost before it was ready: " + exit.Reason
	if line, oom := k.outOfMemory(exit); oom {
		text = "the worker ran out of memory before it was ready: " + exit.Reason
		cause = &OutOfMemoryError{Line: line, Cause: cause}
	}
	return messages.NewError(messages.ModelLoadError, subject(spec), text).
		WithHint("read the worker's log: " + w.LogPath).WithCause(cause)
}

// LastWords are a worker's last lines, oldest first, and of them the one that most likely tells why it ended.
func LastWords(logFile string) (telling string, lines []string) {
	lines = process.Tail(logFile, process.TailLines)
	return lastWords(lines), lines
}

// lastWords is the line that most likely tells why: the last that speaks of an error, else the last.
func lastWords(lines []string) string {
	var last string
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		lower := strings.ToLower(line)
		if strings.Contains(lower, "error") || strings.Contains(lower, "fail") || strings.Contains(lower, "panic") {
			return clip(line)
		}
		if last == "" {
			last = line
		}
	}
	return clip(last)
}

func clip(s string) string {
	const most = 300
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// patience is how long a worker may still take. Progress renews it, up to a limit, so that a worker that only takes memory
// does not load for ever.
type patience struct {
	spec         *messages.ModelSpec
	tells        *regexp.Regexp // finds the percentage in the log, nil for engines that write none
	budget       time.Duration
	until, limit time.Time
	progress     float64
	bytes        uint64 // resident and read, when progress was last seen
	nextLook     time.Time
}

func (r *Runtime) newPatience(k kind, spec *messages.ModelSpec, w *messages.Worker) *patience {
	size, err := fileBytes(spec)
	if err != nil {
		size = 0
	}
	budget := leastLoadTime + time.Duration(size/loadBytesASec)*time.Second
	if spec.LoadTimeoutSeconds > 0 {
		budget = time.Duration(spec.LoadTimeoutSeconds) * time.Second
	}
	slow := time.Duration(size/(loadBytesASec/patienceFactor)) * time.Second
	now := time.Now()
	return &patience{spec: spec, tells: k.progress, budget: budget, until: now.Add(budget), limit: now.Add(patienceFactor*budget + slow), bytes: workedBytes(w.Pid)}
}

// workedBytes grows while a process loads.
func workedBytes(pid int64) uint64 {
	rss, _ := process.ResidentBytes(pid)
	return max(rss, process.ReadBytes(pid))
}

// check renews the time when there was progress and fails when the time is over.
func (p *patience) check(a answer, w *messages.Worker) error {
	now := time.Now()
	if now.Before(p.nextLook) {
		return nil
	}
	p.nextLook = now.Add(200 * time.Millisecond)
	if told := p.told(a, w); told > p.progress {
		p.progress, p.until = told, now.Add(p.budget)
	}
	if worked := workedBytes(w.Pid); worked > p.bytes+progressBytes {
		p.bytes, p.until = worked, now.Add(p.budget)
	}
	if now.Before(p.until) && now.Before(p.limit) {
		return nil
	}
	text := fmt.Sprintf("the worker was not ready after %s without progress: %s", p.budget, a.words())
	if !now.Before(p.limit) {
		text = fmt.Sprintf("the worker was not ready after %s, although it kept working: %s", patienceFactor*p.budget, a.words())
	}
	return messages.NewError(messages.ModelLoadError, subject(p.spec), text).
		WithHint("read the worker's log: " + w.LogPath + "; raise healthCheckTimeout when it only needs longer").
		WithCause(errors.Join(a.err, errNotReady))
}

// told is the share of loading that the engine says is done: in its answer, else in the last lines of its log.
func (p *patience) told(a answer, w *messages.Worker) float64 {
	if a.status == http.StatusServiceUnavailable {
		if told := a.progress(); told > 0 {
			return told
		}
	}
	if p.tells == nil {
		return 0
	}
	var most float64
	for _, line := range process.Tail(w.LogPath, progressLines) {
		for _, m := range p.tells.FindAllStringSubmatch(line, -1) { // a bar redraws itself within its line
			if n, err := strconv.ParseFloat(m[1], 64); err == nil && n <= 100 {
				most = max(most, n/100)
			}
		}
	}
	return most
}

// progressLines is how much of a log is looked at for progress.
const progressLines = 20

var errNotReady = errors.New("not ready in time")
