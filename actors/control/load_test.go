package control

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// then has the model show one view after the other, a second apart, from the command on.
func (h *house) then(views ...*messages.ModelView) {
	h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
		if _, declares := m.(*messages.DeclareModel); declares {
			return messages.Reply{}, nil
		}
		go func() {
			for _, v := range views {
				time.Sleep(time.Second)
				h.shows(v)
			}
		}()
		return messages.Reply{}, nil
	}
}

func broken(body *messages.ErrorBody, attempt uint64) *messages.ModelView {
	v := tiny(messages.ModelView_failed, attempt)
	v.Error = body
	return v
}

func TestLoad(t *testing.T) {
	died := &messages.ErrorBody{Code: "INFERENCE_ERROR", Message: "it died"}
	full := &messages.ErrorBody{Code: "GPU_UNAVAILABLE", Subject: "model/h/tiny", Message: "it is full"}
	for name, c := range map[string]struct {
		was   *messages.ModelView
		then  []*messages.ModelView
		code  messages.Code
		text  string
		after time.Duration
	}{
		"it gets ready":             {tiny(messages.ModelView_absent, 0), []*messages.ModelView{tiny(messages.ModelView_loading, 1), tiny(messages.ModelView_ready, 1)}, 0, "", 2 * time.Second},
		"it was ready":              {tiny(messages.ModelView_ready, 1), nil, 0, "", 0},
		"it fails":                  {tiny(messages.ModelView_absent, 0), []*messages.ModelView{tiny(messages.ModelView_loading, 1), broken(died, 1)}, messages.ModelLoadError, "Failed to load model 'tiny': it died", 2 * time.Second},
		"it fails without a reason": {tiny(messages.ModelView_absent, 0), []*messages.ModelView{broken(nil, 1)}, messages.ModelLoadError, "Failed to load model 'tiny'", time.Second},
		"there is no memory":        {tiny(messages.ModelView_absent, 0), []*messages.ModelView{broken(full, 1)}, messages.GPUUnavailable, "it is full", time.Second},
		"it had failed before":      {broken(died, 4), []*messages.ModelView{tiny(messages.ModelView_loading, 5), tiny(messages.ModelView_ready, 5)}, 0, "", 2 * time.Second},
		"it fails again":            {broken(died, 4), []*messages.ModelView{broken(died, 5)}, messages.ModelLoadError, "it died", time.Second},
		"unloaded meanwhile":        {tiny(messages.ModelView_absent, 0), []*messages.ModelView{tiny(messages.ModelView_loading, 1), tiny(messages.ModelView_absent, 1)}, messages.Unavailable, "it was unloaded meanwhile", 2 * time.Second},
		"withdrawn meanwhile":       {tiny(messages.ModelView_absent, 0), []*messages.ModelView{tiny(messages.ModelView_loading, 1), {Name: "tiny", Phase: messages.ModelView_absent}}, messages.Unavailable, "it was unloaded meanwhile", 2 * time.Second},
		"it takes too long":         {tiny(messages.ModelView_absent, 0), []*messages.ModelView{tiny(messages.ModelView_loading, 1)}, messages.DeadlineExceeded, "", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := open()
				defer h.end()
				h.shows(c.was)
				h.then(c.then...)
				if c.was.Phase == messages.ModelView_absent { // the actor's decision shows before its answer
					ensured := h.obey
					h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
						h.shows(tiny(messages.ModelView_placing, 1))
						return ensured(to, m)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				r, err := h.LoadModel(ctx, &messages.ModelLoadRequest{ModelName: "small"})
				is(t, err, c.code, "model/h/tiny", c.text)
				if err == nil && (!r.Success || r.ModelId != "tiny" || r.VramUsedMb != 5 || r.Message != "Model tiny loaded successfully") {
					t.Errorf("%v", r)
				}
				took := time.Since(began)
				synctest.Wait() // a load goes on when its caller leaves
				if took != c.after || !slices.Equal(h.asked, []string{"model/h/tiny EnsureModel"}) {
					t.Errorf("after %s, asked %q", took, h.asked)
				}
			})
		})
	}
}

// A model is found by name or alias, or declared by its file; a known name is declared again only when the file is another one.
func TestLoadDeclares(t *testing.T) {
	const declare, ensure, look = " DeclareModel", " EnsureModel", "gateway/h QueryView"
	for name, c := range map[string]struct {
		ask   *messages.ModelLoadRequest
		asked []string
		code  messages.Code
		of    string
	}{
		"an unknown name":     {&messages.ModelLoadRequest{ModelName: "other"}, nil, messages.ModelNotFound, "model/h/other"},
		"a withdrawn one":     {&messages.ModelLoadRequest{ModelName: "gone"}, nil, messages.ModelNotFound, "model/h/gone"},
		"a new file":          {&messages.ModelLoadRequest{ModelName: "new", ModelPath: "/new.gguf", Shards: 2}, []string{"model/h/new" + declare, look, "model/h/new" + ensure}, 0, ""},
		"the declared file":   {&messages.ModelLoadRequest{ModelName: "small", ModelPath: "/tiny.gguf"}, []string{"model/h/tiny" + ensure}, 0, ""},
		"another file":        {&messages.ModelLoadRequest{ModelName: "tiny", ModelPath: "/other.gguf"}, []string{"model/h/tiny" + declare, look, "model/h/tiny" + ensure}, 0, ""},
		"a file for an alias": {&messages.ModelLoadRequest{ModelName: "small", ModelPath: "/other.gguf"}, nil, messages.InvalidArgument, "model_path"},
		"a name of no sense":  {&messages.ModelLoadRequest{ModelName: "new one", ModelPath: "/new.gguf"}, nil, messages.InvalidArgument, "model_name"},
		"a path of no sense":  {&messages.ModelLoadRequest{ModelName: "tiny", ModelPath: "?"}, nil, messages.InvalidArgument, "?"},
	} {
		t.Run(name, func(t *testing.T) {
			h := open()
			defer h.end()
			h.shows(tiny(messages.ModelView_ready, 1))
			h.shows(&messages.ModelView{Name: "gone", Phase: messages.ModelView_absent})
			h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
				if d, is := m.(*messages.DeclareModel); is {
					h.shows(&messages.ModelView{Name: to.Name(), Phase: messages.ModelView_ready, Spec: d.Spec})
				}
				return messages.Reply{}, nil
			}
			_, err := h.LoadModel(asAdmin(t), c.ask)
			is(t, err, c.code, c.of, "")
			if !slices.Equal(h.asked, c.asked) {
				t.Errorf("asked %q", h.asked)
			}
		})
	}
	refused := messages.NewError(messages.JournalFull, "journal", "full")
	h := open()
	defer h.end()
	h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) { return messages.Reply{}, refused }
	_, err := h.LoadModel(asAdmin(t), &messages.ModelLoadRequest{ModelName: "new", ModelPath: "/new.gguf"})
	is(t, err, messages.JournalFull, "journal", "full")
	h.shows(tiny(messages.ModelView_ready, 1))
	_, err = h.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: "tiny"})
	is(t, err, messages.JournalFull, "journal", "full")
}

func asAdmin(t *testing.T) context.Context {
	return messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "a", Role: messages.Role_ADMIN}})
}

// Which file an engine reads is the administrator's to say.
func TestAnOperatorLoadsDeclaredFilesOnly(t *testing.T) {
	operator := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "o", Role: messages.Role_OPERATE}})
	for path, want := range map[string]messages.Code{"": 0, "/tiny.gguf": 0, "/other.gguf": messages.PermissionDenied} {
		h := open()
		h.shows(tiny(messages.ModelView_ready, 1))
		h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) { return messages.Reply{}, nil }
		_, err := h.LoadModel(operator, &messages.ModelLoadRequest{ModelName: "tiny", ModelPath: path})
		if is(t, err, want, map[bool]string{true: "model_path"}[want != 0], ""); want != 0 && len(h.asked) > 0 {
			t.Errorf("%s: asked %q", path, h.asked)
		}
		h.end()
	}
}

// A load that a stop of the daemon ends doesn't blame its caller.
func TestLoadWhileTheDaemonStops(t *testing.T) {
	h := open()
	h.shows(tiny(messages.ModelView_loading, 1))
	h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) { h.end(); return messages.Reply{}, nil }
	_, err := h.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: "tiny"})
	is(t, err, messages.Unavailable, "model/h/tiny", "is stopping")
}

// Unload returns when the memory is free by the ledgers, not when the worker is gone; a request that wants the model back ends the wait.
func TestUnload(t *testing.T) {
	held := &messages.Reservation{Holder: "model/h/tiny"}
	for name, c := range map[string]struct {
		then  func(*house)
		after time.Duration
	}{
		"its memory is free": {func(h *house) {
			h.shows(tiny(messages.ModelView_absent, 1))
			time.Sleep(time.Second)
			h.device("gpu0", &messages.Reservation{Holder: "model/h/other"})
		}, 2 * time.Second},
		"wanted again": {func(h *house) { h.shows(tiny(messages.ModelView_placing, 2)) }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := open()
				defer h.end()
				h.device("gpu0", held)
				h.shows(tiny(messages.ModelView_ready, 1))
				h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
					leaving := tiny(messages.ModelView_draining, 1)
					leaving.Wanted = false
					h.shows(leaving)
					go func() { time.Sleep(time.Second); c.then(h) }()
					return messages.Reply{}, nil
				}
				began := time.Now()
				r, err := h.UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: "small", Force: true})
				if err != nil || r.VramFreedMb != 5 || time.Since(began) != c.after || !slices.Equal(h.asked, []string{"model/h/tiny UnloadModel"}) {
					t.Errorf("%v, %v after %s, asked %q", r, err, time.Since(began), h.asked)
				}
			})
		})
	}
	h := open()
	defer h.end()
	_, err := h.UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: "other"})
	is(t, err, messages.ModelNotFound, "model/h/other", "Model 'other' not found")
	h.shows(tiny(messages.ModelView_absent, 0))
	if r, err := h.UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: "tiny"}); err != nil || !r.Success {
		t.Errorf("what isn't loaded: %v, %v", r, err)
	}
}

func TestList(t *testing.T) {
	h := open()
	defer h.end()
	h.queued = []*messages.ModelView{tiny(messages.ModelView_ready, 1), {Name: "split", Phase: messages.ModelView_loading, Spec: &messages.ModelSpec{Shards: 2}, ReadyMs: 5000}}
	l, err := h.ListModels(t.Context(), nil)
	if err != nil || l.TotalCount != 2 || l.TotalVramMb != 5 || l.Models[0].Shards != 1 || l.Models[0].Path != "/tiny.gguf" || l.Models[1].Shards != 2 || l.Models[1].LoadTime != 5 || l.Models[1].Status != "loading" {
		t.Errorf("%v, %v", l, err)
	}
}
