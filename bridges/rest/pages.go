package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"modelops/messages"
)

// page is a page of ours, with what its readers need.
type page struct {
	serve http.HandlerFunc
	// needs is the operation whose role and reach it has; nil = anyone may read it.
	needs *messages.Operation
}

// ownPages are open where a poller or a load balancer has no key: they say that this is ModelOps, in which version, and whether it is well. The token lets a
// page of this host write with what its reader may do, and nothing more.
func (s *Server) ownPages() map[string]page {
	pages := map[string]page{"/": {serve: s.root}, "/health": {serve: s.health}, tokenPath: {serve: s.token},
		"/running": {serve: s.models, needs: operation("ListResident")}}
	if s.o.Metrics != nil {
		pages["/metrics"] = page{serve: s.o.Metrics.ServeHTTP, needs: operation("GetConfig")} // they tell of every model, as the configuration does
	}
	return pages
}

func operation(name string) *messages.Operation {
	o, ok := messages.OperationNamed(name)
	if !ok {
		panic("rest: operations.proto has no rpc " + name)
	}
	return &o
}

// show runs a page for those who may read it.
func (s *Server) show(w http.ResponseWriter, r *http.Request, p page) {
	if p.needs != nil {
		reader, err := s.o.Authenticate.Authorize(r.Context(), *p.needs, messages.CredentialsIn(r.Header, r.RemoteAddr))
		if err != nil {
			writeTyped(w, messages.AsError(err))
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), principalOf{}, reader))
	}
	p.serve(w, r)
}

// root says what this is, in the words of the Python coordinator.
func (s *Server) root(w http.ResponseWriter, _ *http.Request) {
	if s.o.NATS != nil {
		w.Header().Set(messages.NATSPortHeader, s.o.NATS())
	}
	writeJSON(w, http.StatusOK, struct {
		Service   string `json:"service"`
		Version   string `json:"version"`
		Status    string `json:"status"`
		DocsURL   string `json:"docs_url"`
		HealthURL string `json:"health_url"`
	}{"ModelOps Coordinator", s.o.Version, "running", "/docs", "/health"})
}

// sickness is the body of /health when it isn't ok, or not wholly: a device that can't be used leaves the others. The first four are what the Python coordinator's pollers know.
type sickness struct {
	Status         string   `json:"status"`
	Timestamp      string   `json:"timestamp"`
	KernelHealthy  bool     `json:"kernel_healthy"`
	WorkerHealthy  bool     `json:"worker_healthy"`
	UptimeSeconds  float64  `json:"uptime_seconds"`
	Reasons        []string `json:"reasons"`
	OldestSeconds  float64  `json:"oldest_undecided_seconds"`
	JournalLag     uint64   `json:"journal_lag"`
	ModelsReady    int      `json:"models_ready"`
	ModelsDeclared int      `json:"models_declared"`
	Host           string   `json:"host"` // that says it
	// Hosts is how old what the others said is.
	Hosts []hostSaid `json:"hosts,omitempty"`
	// Expected are the members that haven't been heard since this host started.
	Expected []string `json:"expected,omitempty"`
}

type hostSaid struct {
	Host  string `json:"host"`
	AgeMs int64  `json:"age_ms"`
	Stale bool   `json:"stale"`
}

// health asks whether decisions make progress. Pollers compare its good answer literally; ?verbose tells more. What ails it names models, so only
// those who may see the host are told.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	h := s.o.Gateway.Health()
	if h.OK && len(h.Reasons) == 0 && !r.URL.Query().Has("verbose") {
		writeBody(w, http.StatusOK, []byte(`{"status":"ok"}`))
		return
	}
	out := sickness{Status: "ok", Timestamp: time.Now().UTC().Format(time.RFC3339), KernelHealthy: h.OK, WorkerHealthy: true, UptimeSeconds: time.Since(s.began).Seconds(),
		Reasons: h.Reasons, OldestSeconds: h.OldestUndecided.Seconds(), JournalLag: h.JournalLag, Host: s.o.Host}
	if out.Reasons == nil {
		out.Reasons = []string{}
	}
	if reader, err := s.o.Authenticate.Authorize(r.Context(), *operation("GetStatus"), messages.CredentialsIn(r.Header, r.RemoteAddr)); err != nil || reader.Scope != nil {
		status, code := "ok", http.StatusOK
		if !h.OK {
			status, code = "unhealthy", http.StatusServiceUnavailable
		}
		writeJSON(w, code, map[string]string{"status": status})
		return
	}
	said := s.said()
	for _, h := range said {
		out.Hosts = append(out.Hosts, hostSaid{h.Host, h.AgeMs, h.Stale})
	}
	if s.o.Expected != nil {
		out.Expected = s.o.Expected()
	}
	for _, m := range s.o.Gateway.Models() {
		out.ModelsDeclared++
		switch messages.StateNow(m, said) {
		case messages.ModelView_ready.String():
			out.ModelsReady++
		case messages.ModelView_failed.String():
			out.WorkerHealthy = false
		}
	}
	code := http.StatusOK
	switch {
	case !h.OK:
		out.Status, code = "unhealthy", http.StatusServiceUnavailable
	case len(h.Reasons) > 0:
		out.Status = "degraded"
	}
	writeJSON(w, code, out)
}

// said is how old what other hosts said is.
func (s *Server) said() []*messages.HostSaid {
	if s.o.Said == nil {
		return nil
	}
	return s.o.Said()
}

// runningModel is a row of /running, with llama-swap's names where it has them.
type runningModel struct {
	Model   string `json:"model"`
	Host    string `json:"host,omitempty"`
	State   string `json:"state"`
	Runtime string `json:"runtime"`
	Proxy   string `json:"proxy"` // where the worker answers
	Pid     int64  `json:"pid"`
	VRAM    uint64 `json:"vram_bytes"`
	Active  uint32 `json:"active"`
	Queued  uint32 `json:"queued"`
}

// models lists what has a worker, or is about to have one.
func (s *Server) models(w http.ResponseWriter, r *http.Request) {
	reader, _ := r.Context().Value(principalOf{}).(messages.Principal)
	out := struct {
		Running []runningModel `json:"running"`
	}{[]runningModel{}}
	models, said := s.o.Gateway.Models(), s.said()
	resolve := messages.Resolver(models)
	for _, m := range models {
		if !reader.Scope.Has(messages.ModelNamed(m.GetName(), resolve)) {
			continue
		}
		switch m.GetPhase() {
		case messages.ModelView_phase_unknown, messages.ModelView_absent, messages.ModelView_failed, messages.ModelView_waiting:
			continue
		}
		out.Running = append(out.Running, runningModel{Model: m.GetName(), Host: m.GetHost(), State: messages.StateNow(m, said), Runtime: m.GetSpec().GetRuntime(), Proxy: m.GetWorker().GetUrl(),
			Pid: m.GetWorker().GetPid(), VRAM: m.GetMeasuredBytes(), Active: m.GetActive(), Queued: m.GetQueued()})
	}
	writeJSON(w, http.StatusOK, out)
}

// writeError answers in OpenAI's form, as the inference API does.
func writeError(w http.ResponseWriter, status int, err *messages.Error) {
	writeErrorWith(w, status, err, map[string]any{})
}

func writeErrorWith(w http.ResponseWriter, status int, err *messages.Error, body map[string]any) {
	wire := err.Code.Wire()
	w.Header().Set("X-Modelops-Code", wire.Name)
	if err.Retry > 0 {
		seconds, ms := messages.RetryHeaders(err.Retry)
		w.Header().Set("Retry-After", seconds)
		w.Header().Set("Retry-After-Ms", ms)
	}
	body["error"] = map[string]any{"message": err.Error(), "type": wire.OpenAI, "param": nil, "code": strings.ToLower(wire.Name), "src": "modelops"}
	writeJSON(w, status, body)
}

func writeTyped(w http.ResponseWriter, err *messages.Error) { writeError(w, err.Code.Wire().HTTP, err) }

// refuseMethod answers a method that a path doesn't take.
func refuseMethod(w http.ResponseWriter, r *http.Request, allowed ...string) {
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeError(w, http.StatusMethodNotAllowed, messages.Errorf(messages.InvalidArgument, r.URL.Path, "takes %s, not %s", strings.Join(allowed, " or "), r.Method))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain values always marshal
	}
	writeBody(w, status, body)
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
