package control

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"modelops/messages"
)

func catalogue(h *house) Catalogue {
	return Catalogue{Host: "h", View: h.view, Gateway: h, Now: h.o.Now, Preloads: func(model string) bool { return model == "preloaded" }}
}

func TestDeclaredShowsWhoIsResident(t *testing.T) {
	h := open()
	for phase, resident := range map[messages.ModelView_Phase]bool{messages.ModelView_ready: true, messages.ModelView_loading: true, messages.ModelView_asleep: true, messages.ModelView_failed: false,
		messages.ModelView_absent: false, messages.ModelView_draining: false} {
		v := tiny(phase, 1)
		v.Wanted = false
		h.shows(v)
		if d := catalogue(h).Declared(); len(d) != 1 || d[0].Name != "tiny" || d[0].Aliases[0] != "small" || d[0].Resident != resident {
			t.Errorf("%s: %v", phase, d)
		}
	}
	h.shows(tiny(messages.ModelView_draining, 2)) // and wanted back
	h.shows(&messages.ModelView{Name: "gone", Phase: messages.ModelView_absent})
	if d := catalogue(h).Declared(); len(d) != 1 || !d[0].Resident {
		t.Errorf("%v", d)
	}
}

func TestAwaitReady(t *testing.T) {
	for name, c := range map[string]struct {
		then *messages.ModelView
		code messages.Code
	}{
		"ready": {tiny(messages.ModelView_ready, 1), 0}, "failed": {broken(nil, 1), messages.ModelLoadError}, "unloaded": {tiny(messages.ModelView_absent, 1), messages.Unavailable},
		"withdrawn": {&messages.ModelView{Name: "tiny", Wanted: true}, messages.ModelNotFound}, "too late": {tiny(messages.ModelView_loading, 1), messages.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := open()
				h.shows(tiny(messages.ModelView_loading, 1))
				go func() { time.Sleep(time.Second); h.shows(c.then) }()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := catalogue(h).AwaitReady(ctx, "tiny"); messages.CodeOf(err) != c.code {
					t.Errorf("%v", err)
				}
				synctest.Wait()
			})
		})
	}
	h := open()
	h.shows(broken(nil, 1))
	if err := catalogue(h).Failed("tiny"); messages.CodeOf(err) != messages.ModelLoadError {
		t.Errorf("%v", err)
	}
	if err := catalogue(h).Failed("other"); messages.CodeOf(err) != messages.ModelNotFound {
		t.Errorf("%v", err)
	}
	h.shows(tiny(messages.ModelView_loading, 2))
	if err := catalogue(h).Failed("tiny"); err != nil {
		t.Errorf("%v", err)
	}
}

func TestKeeps(t *testing.T) {
	with := func(change func(*messages.ModelView)) *messages.ModelView {
		v := tiny(messages.ModelView_ready, 1)
		change(v)
		return v
	}
	for name, c := range map[string]struct {
		view      *messages.ModelView
		elsewhere []string
		want      string
	}{
		"nothing keeps it":       {tiny(messages.ModelView_ready, 1), nil, ""},
		"pinned for good":        {with(func(v *messages.ModelView) { v.PinnedBy = "me" }), nil, "it is pinned"},
		"pinned still":           {with(func(v *messages.ModelView) { v.PinnedBy, v.PinnedUntilMs = "me", 1001 }), nil, "it is pinned"},
		"pinned until now":       {with(func(v *messages.ModelView) { v.PinnedBy, v.PinnedUntilMs = "me", 1000 }), nil, ""},
		"pinned by the file":     {with(func(v *messages.ModelView) { v.Spec.Pinned = true }), nil, "it is pinned"},
		"preloaded":              {with(func(v *messages.ModelView) { v.Name = "preloaded" }), nil, "the configuration preloads it"},
		"its alias leads to it":  {tiny(messages.ModelView_ready, 1), []string{"chat"}, "it answers small"},
		"its alias was led away": {tiny(messages.ModelView_ready, 1), []string{"small"}, ""},
		"withdrawn":              {&messages.ModelView{Name: "tiny", PinnedBy: "me"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := open()
			h.shows(c.view)
			if got := catalogue(h).Keeps(c.view.Name, c.elsewhere); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
