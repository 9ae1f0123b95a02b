package openai

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"modelops/messages"
)

const modelsPath = "/v1/models"

// modelObject is OpenAI's model with fields of ours in addition.
type modelObject struct {
	ID      string    `json:"id"`
	Object  string    `json:"object"`
	Created int64     `json:"created"` // seconds since 1970 at which it became ready; 0 when it isn't
	OwnedBy string    `json:"owned_by"`
	Name    string    `json:"name"`
	Status  string    `json:"status"` // its phase, or unreachable
	Aliases []string  `json:"aliases"`
	Meta    modelMeta `json:"meta"`
}

type modelMeta struct {
	Runtime   string `json:"runtime,omitempty"`
	NCtx      uint32 `json:"n_ctx,omitempty"`
	Slots     uint32 `json:"slots,omitempty"`
	VRAMBytes uint64 `json:"vram_bytes,omitempty"` // measured; 0 until then
	PinnedBy  string `json:"pinned_by,omitempty"`
	PinnedTo  int64  `json:"pinned_until,omitempty"` // seconds since 1970; 0 = without end
	Active    uint32 `json:"active"`
	Queued    uint32 `json:"queued"`
	Error     string `json:"error,omitempty"`  // why the last load failed
	Host      string `json:"host,omitempty"`   // whose model it is, and that says so
	AgeMs     int64  `json:"age_ms,omitempty"` // since that host said it; absent for this host's own
}

// othersPaths are paths that clients of other programs ask first, and what is here in their place.
var othersPaths = map[string]string{
	"/api/tags": "GET /v1/models lists the models", "/api/show": "GET /v1/models/NAME shows a model", "/api/ps": "GET /running lists the loaded models", "/api/version": "GET / names the version",
	"/api/generate": "POST /v1/completions completes a prompt", "/api/chat": "POST /v1/chat/completions answers a chat", "/api/embed": "POST /v1/embeddings embeds", "/api/embeddings": "POST /v1/embeddings embeds",
	"/api/pull": "models are declared in the configuration", "/api/create": "models are declared in the configuration", "/api/delete": "models are declared in the configuration",
	"/unload": "POST /api/models/unload/NAME unloads a model", "/logs": "modelops logs MODEL shows a worker's log", "/ui": "modelops status, ps and queue show what a page would", "/docs": "GET /api/config shows the configuration, modelops --help the commands",
}

// elsewhere says where a client finds what it looks for under another program's path.
func elsewhere(path string) string {
	if s := othersPaths[strings.TrimSuffix(path, "/")]; s != "" {
		return "; " + s
	}
	return ""
}

// serveModels answers /v1/models and /v1/models/{id}, and 404 for every other path.
func (a *API) serveModels(w http.ResponseWriter, r *http.Request, caller messages.Principal) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/models") {
		path = "/v1" + path
	}
	if path == modelsPath+"/" {
		path = modelsPath
	}
	id, one := strings.CutPrefix(path, modelsPath+"/")
	if !one && path != modelsPath {
		writePlain(w, http.StatusNotFound, messages.NotFound, "not_found", "there is no "+r.URL.Path+" here"+elsewhere(r.URL.Path))
		return
	}
	r.Pattern = modelsPath
	if one {
		r.Pattern = modelsPath + "/{id}"
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuseMethod(w, r, "GET, HEAD")
		return
	}
	models, said := a.gateway.Models(), a.saidNow()
	resolve := messages.Resolver(models)
	if host := r.URL.Query().Get("host"); host != "" {
		models = slices.DeleteFunc(models, func(m *messages.ModelView) bool { return m.GetHost() != host })
	}
	if one {
		if err := caller.AllowsInference(messages.ModelNamed(id, resolve)); err != nil {
			refusalOf(err).write(w, route{})
			return
		}
		a.serveModel(w, nearest(models, said), id, said)
		return
	}
	list := struct {
		Object string        `json:"object"`
		Data   []modelObject `json:"data"`
	}{Object: "list", Data: []modelObject{}}
	for _, m := range nearest(models, said) {
		if !m.GetSpec().GetUnlisted() && caller.Scope.Has(messages.ModelNamed(m.GetName(), resolve)) {
			list.Data = append(list.Data, describe(m, said))
		}
	}
	writeJSON(w, list)
}

// saidNow is how old what other hosts said is.
func (a *API) saidNow() []*messages.HostSaid {
	if a.said == nil {
		return nil
	}
	return a.said()
}

// nearest leaves one view of each name: of hosts that have the same model, the first on which it is ready, else the first that can be reached. Views of a name come
// one after the other.
func nearest(models []*messages.ModelView, said []*messages.HostSaid) (out []*messages.ModelView) {
	rank := func(m *messages.ModelView) int {
		switch messages.StateNow(m, said) {
		case messages.ModelView_ready.String():
			return 2
		case messages.MemberView_unreachable.String():
			return 0
		}
		return 1
	}
	for _, m := range models {
		switch n := len(out) - 1; {
		case n < 0 || out[n].GetName() != m.GetName():
			out = append(out, m)
		case rank(m) > rank(out[n]):
			out[n] = m
		}
	}
	return out
}

// serveModel finds a model by its name or an alias. Unlisted models are found too: they are only left out of the list.
func (a *API) serveModel(w http.ResponseWriter, models []*messages.ModelView, id string, said []*messages.HostSaid) {
	if m := modelNamed(models, id); m != nil {
		writeJSON(w, describe(m, said))
		return
	}
	missing := messages.Errorf(messages.ModelNotFound, "", "there is no model %.200q here", id).WithHint("GET /v1/models lists them")
	refusalOf(missing).write(w, route{})
}

// modelNamed is the model that has a name or an alias; nil when there is none.
func modelNamed(models []*messages.ModelView, name string) *messages.ModelView {
	i := slices.IndexFunc(models, func(m *messages.ModelView) bool {
		return m.GetName() == name || slices.Contains(m.GetSpec().GetAliases(), name)
	})
	if i < 0 {
		return nil
	}
	return models[i]
}

func describe(m *messages.ModelView, said []*messages.HostSaid) modelObject {
	spec := m.GetSpec()
	out := modelObject{
		ID: m.GetName(), Object: "model", Created: m.GetReadyMs() / 1000, OwnedBy: "modelops", Name: m.GetName(),
		Status: messages.StateNow(m, said), Aliases: spec.GetAliases(),
		Meta: modelMeta{Runtime: spec.GetRuntime(), NCtx: spec.GetContextLength(), Slots: m.GetSlots(), VRAMBytes: m.GetMeasuredBytes(),
			Active: m.GetActive(), Queued: m.GetQueued(), Error: m.GetError().GetMessage(), PinnedBy: m.GetPinnedBy(), PinnedTo: m.GetPinnedUntilMs() / 1000, Host: m.GetHost(), AgeMs: messages.SaidBy(said, m.GetHost()).GetAgeMs()},
	}
	if out.Status == messages.MemberView_unreachable.String() {
		out.Created = 0
	}
	if out.Aliases == nil {
		out.Aliases = []string{}
	}
	return out
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain values always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
