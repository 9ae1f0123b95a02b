package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// answer is what a worker said to a probe: status 0 when no answer came.
type answer struct {
	status int
	body   []byte
	err    error
}

func (a answer) words() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("answered %d %s", a.status, http.StatusText(a.status))
}

// silent: the server gave no answer, as opposed to one that takes long, and to a question that we could not ask.
func (a answer) silent() bool {
	return a.status == 0 && !errors.Is(a.err, context.DeadlineExceeded) && !process.Starved(a.err)
}

// refused: no program listens at the address. Any other failure says nothing of the server: it may take long, its connection may be cut, or
// we may have no descriptor to ask with.
func (a answer) refused() bool { return a.status == 0 && errors.Is(a.err, syscall.ECONNREFUSED) }

// probeTime is how long one probe may take; probeBytes how much of its answer is read.
const (
	probeTime  = 5 * time.Second
	probeBytes = 4 << 20
)

// ask sends one GET to the worker.
func (r *Runtime) ask(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker, path string) answer {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return r.exchange(ctx, spec, w, http.MethodGet, path, "")
}

// exchange sends one request to the worker; ctx alone bounds it.
func (r *Runtime) exchange(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker, method, path, body string) answer {
	req, err := http.NewRequestWithContext(ctx, method, r.Address(spec.GetName(), w.Url)+path, strings.NewReader(body))
	if err != nil {
		return answer{err: withoutURL(err)}
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	key, err := r.apiKey(spec)
	if err != nil {
		return answer{err: err}
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := r.probes.Do(req)
	if err != nil {
		return answer{err: withoutURL(err)}
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, probeBytes))
	return answer{status: res.StatusCode, body: said, err: err}
}

// progress is the share of loading that is done, as the embedded engine tells while it answers 503; 0 when it doesn't.
func (a answer) progress() float64 {
	var said struct {
		Progress float64 `json:"progress"`
		Error    struct {
			Progress float64 `json:"progress"`
		} `json:"error"`
	}
	if json.Unmarshal(a.body, &said) != nil {
		return 0
	}
	return max(said.Progress, said.Error.Progress)
}

// names are all the names under which /v1/models lists models.
func (a answer) names() []string {
	var list struct {
		Data []struct {
			ID      string   `json:"id"`
			Aliases []string `json:"aliases"`
		} `json:"data"`
	}
	if json.Unmarshal(a.body, &list) != nil {
		return nil
	}
	var out []string
	for _, m := range list.Data {
		out = append(append(out, m.ID), m.Aliases...)
	}
	return out
}

// slotsOf is how many requests the worker takes at once: as it says itself, else as the spec or the options say.
func (r *Runtime) slotsOf(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker) uint32 {
	if k.props != "" {
		var props struct {
			Slots uint32 `json:"total_slots"`
		}
		if a := r.ask(ctx, spec, w, k.props); a.status == http.StatusOK && json.Unmarshal(a.body, &props) == nil && props.Slots > 0 {
			return props.Slots
		}
	}
	return r.slots(k, spec)
}

// withoutURL drops the address from an error of net/http, which may hold secrets. Who reports the error names the declared address.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
