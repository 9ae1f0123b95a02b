package control

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// written is a log that grows.
type written struct {
	mu    sync.Mutex
	asked []string
	page  *messages.LogPage
}

// grow gives the page other lines.
func (w *written) grow(lines ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.page.Lines = lines
}

func (w *written) read(model, after string, lines int) (*messages.LogPage, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, model+" "+after)
	return proto.CloneOf(w.page), nil
}

// A log is read here for a worker of this host, under its name or an alias, and waits for a line only when it is read on.
func TestReadLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, w := open(), &written{page: &messages.LogPage{}}
		defer h.end()
		h.o.Log = w.read
		h.shows(&messages.ModelView{Name: "tiny", Spec: &messages.ModelSpec{Name: "tiny", Aliases: []string{"small"}}})
		ask := func(r *messages.LogRequest) (*messages.LogPage, error) { return h.ReadLog(t.Context(), r) }
		_, err := ask(&messages.LogRequest{})
		is(t, err, messages.InvalidArgument, "model_name", "it is empty")
		_, err = ask(&messages.LogRequest{ModelName: "tinny", WaitMs: 30_000})
		is(t, err, messages.ModelNotFound, "model/h/tinny", "")
		_, err = ask(&messages.LogRequest{ModelName: "tiny", Host: "pc9"})
		is(t, err, messages.NotFound, "host pc9", "it is no member of this cluster")
		_, err = ask(&messages.LogRequest{ModelName: "small", WaitMs: 30_000})
		is(t, err, messages.NotFound, "model/h/tiny", "it has no log, because no worker of it has run on h")
		w.page = &messages.LogPage{Log: "x.log", Next: "x.log@3", Unfinished: "fo"}
		began := time.Now()
		p, err := ask(&messages.LogRequest{ModelName: "small", WaitMs: 30_000})
		if err != nil || p.Next != "x.log@3" || p.Host != "h" || p.ModelName != "tiny" || time.Since(began) != 0 {
			t.Errorf("%v, %v after %s", p, err, time.Since(began))
		}
		time.AfterFunc(250*time.Millisecond, func() { w.grow("four") })
		p, err = ask(&messages.LogRequest{ModelName: "tiny", After: p.Next, WaitMs: 30_000})
		if err != nil || len(p.Lines) != 1 || time.Since(began) != 300*time.Millisecond {
			t.Errorf("%v, %v after %s", p, err, time.Since(began))
		}
		w.grow()
		if p, err = ask(&messages.LogRequest{ModelName: "tiny", After: "x", WaitMs: 90_000}); err != nil || len(p.Lines) != 0 || time.Since(began) != 30300*time.Millisecond {
			t.Errorf("%v, %v after %s", p, err, time.Since(began))
		}
	})
}

// A worker of another host writes its log there: that host is asked, once, with the wait of the request and some seconds for the way.
func TestReadLogElsewhere(t *testing.T) {
	h, others, w := open(), &otherHosts{}, &written{page: &messages.LogPage{Log: "x.log"}}
	h.o.Hosts, h.o.Log = others, w.read
	shows := func(host, name string, phase messages.ModelView_Phase) {
		id := messages.ModelActor(host, name)
		h.view.StateChanged(id, 1, &messages.ModelView{Id: id.String(), Host: host, Name: name, Phase: phase, Spec: &messages.ModelSpec{Name: name, Aliases: []string{"as-" + name}}})
	}
	shows("pc2", "far", messages.ModelView_absent)
	shows("pc2", "both", messages.ModelView_ready)
	shows("h", "both", messages.ModelView_ready)
	for _, c := range []struct {
		model, host string
		there       bool
	}{{"far", "", true}, {"as-far", "", true}, {"pc2/far", "", true}, {"both", "", false}, {"both", "pc2", true}, {"pc2/both", "", true}, {"both", "h", false}, {"gone", "pc2", true}} {
		others.asked, w.asked = nil, nil
		if _, err := h.ReadLog(t.Context(), &messages.LogRequest{ModelName: c.model, Host: c.host}); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if c.there != (len(others.asked) == 1 && others.asked[0] == "pc2 ReadLog at pc2") || c.there == (len(w.asked) == 1) {
			t.Errorf("%+v: %v %v", c, others.asked, w.asked)
		}
	}
	others.asked, w.asked = nil, nil
	if _, err := h.ReadLog(messages.WithPeer(t.Context(), "pc2"), &messages.LogRequest{ModelName: "both", Host: "h"}); err != nil || len(w.asked) != 1 {
		t.Errorf("asked by a host: %v, %v", err, w.asked)
	}
	others.cut = true
	_, err := h.ReadLog(t.Context(), &messages.LogRequest{ModelName: "far"})
	is(t, err, messages.Unavailable, "host pc2", "it can't be reached")
	others.asked = nil
	asked := context.Background()
	_, err = h.Scoped().ReadLog(messages.WithCaller(asked, messages.Caller{Only: messages.Only{Host: "pc2"}}), &messages.LogRequest{ModelName: "both"})
	if is(t, err, messages.Unavailable, "host pc2", "it can't be reached"); len(others.asked) != 1 {
		t.Error(others.asked)
	}
}
