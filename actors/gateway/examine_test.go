package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelops/messages"
)

// prober answers as the test says.
type prober struct {
	verdict messages.Verdict
	alive   error
	paths   []string
	proofs  atomic.Int32
	hangs   bool // a proof ends with its context
}

func (p *prober) Alive(ctx context.Context, _ *messages.ModelSpec, _ *messages.Worker) error {
	p.proofs.Add(1)
	if p.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return p.alive
}

func (p *prober) Works(_ context.Context, _ *messages.ModelSpec, _ *messages.Worker, path string) messages.Verdict {
	p.paths = append(p.paths, path)
	return p.verdict
}

// probed is the rig with a prober.
func probed(p *prober) (*Gateway, *door) {
	d := &door{}
	g := New(Options{Host: "main_pc", Door: d, Placer: placer(d.place), Observer: deaf{}, DrainTimeout: 30 * time.Second, Prober: p,
		Figures: Figures{Limits: Limits{MaxConcurrent: 1, MaxQueue: 256}, FailureThreshold: 2, ResetTimeout: 20 * time.Second, QueueTimeout: 10 * time.Second}})
	g.Update(view(1, "ready"))
	return g, d
}

// A worker that hangs holds up the proof of its life for a bounded time only.
func TestAProofEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := probed(&prober{hangs: true})
		grant := must(t, g)
		began := time.Now()
		if err := grant.Alive(context.Background(), grant); err == nil || time.Since(began) != trialTime {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		grant.Release(messages.Outcome{})
	})
}

// Failures open the breaker when the worker fails a trial too, and only then.
func TestATrialDecidesOnTheBreaker(t *testing.T) {
	for verdict, open := range map[messages.Verdict]bool{messages.TrialWorks: false, messages.TrialUnknown: false, messages.TrialSilent: false, messages.TrialFails: true} {
		synctest.Test(t, func(t *testing.T) {
			p := &prober{verdict: verdict}
			g, d := probed(p)
			for range 2 {
				must(t, g).Release(messages.Outcome{Failed: true, Path: "/v1/embeddings"})
			}
			synctest.Wait()
			if fmt.Sprint(p.paths) != "[/v1/embeddings]" {
				t.Errorf("%d: tried %v", verdict, p.paths)
			}
			grant, err := g.Admit(t.Context(), "tiny")
			if open != (messages.CodeOf(err) == messages.CircuitBreakerOpen) || open != (len(d.heard()) == 1) {
				t.Errorf("%d: %v, told %v", verdict, err, d.heard())
			}
			if grant != nil {
				grant.Release(messages.Outcome{})
			}
		})
	}
}

// A request on a connection that ended is sent again when the same worker proves that it lives. Another load's worker is no proof.
func TestOnlyTheSameWorkerIsAProof(t *testing.T) {
	lost := messages.NotAnswered("tiny", true, errors.New("server closed idle connection"))
	for name, c := range map[string]struct {
		p      *prober
		change func(*Gateway)
		runs   int32
		proofs int32
	}{
		"lives":       {&prober{}, func(*Gateway) {}, 3, 3},
		"died":        {&prober{alive: errors.New("gone")}, func(*Gateway) {}, 1, 1},
		"loaded anew": {&prober{}, func(g *Gateway) { g.Update(view(2, "ready")) }, 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, _ := probed(c.p)
			var runs atomic.Int32
			g.o.Runner = runner(func(context.Context, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
				runs.Add(1)
				c.change(g)
				return nil, lost
			})
			_, err := g.Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny"}, nil)
			if messages.CodeOf(err) != messages.InferenceError || runs.Load() != c.runs || c.p.proofs.Load() != c.proofs {
				t.Errorf("%s: %d runs, %d proofs, %v", name, runs.Load(), c.p.proofs.Load(), err)
			}
			empty(t, g)
		})
	}
}

// A replica that sleeps is woken when the breakers of those that are awake are open, and gets the requests.
func TestASleeperIsWokenWhenBreakersAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "ready")
		replica := func(phase string) *messages.ModelView {
			v := view(1, phase)
			v.Id, v.Name = "model/main_pc/tiny~2", "tiny~2"
			return v
		}
		g.Update(replica("asleep"))
		for range 2 {
			must(t, g).Release(messages.Outcome{Failed: true})
		}
		w := admit(g, t.Context())
		synctest.Wait()
		told := d.heard()
		if _, ok := told[len(told)-1].(*messages.EnsureModel); !ok {
			t.Fatalf("told %v", told)
		}
		g.Update(replica("waking"))
		synctest.Wait()
		g.Update(replica("ready"))
		if r := <-w; r.err != nil || r.grant.Replica != "tiny~2" {
			t.Errorf("%+v", r)
		} else {
			r.grant.Release(messages.Outcome{})
		}
	})
}

// The pools of names that come and go end with them, and a request that comes in the same instant is refused.
func TestPoolsEndWithTheirNames(t *testing.T) {
	g, _ := rig(1, "ready")
	for i := range 1000 {
		v := view(1, "ready")
		v.Name = fmt.Sprint("adhoc", i)
		v.Id, v.Spec = "model/main_pc/"+v.Name, &messages.ModelSpec{Name: v.Name}
		g.Update(v)
		l := g.pools[v.Name]
		v = &messages.ModelView{Id: v.Id, Name: v.Name, Attempt: 1, Phase: messages.ModelView_absent}
		g.Update(v)
		if _, err := g.admit(t.Context(), l, nil, time.Now()); messages.CodeOf(err) != messages.ModelNotFound {
			t.Fatal(err)
		}
	}
	if len(g.pools) != 1 || len(g.routes.Load().byName) != 2 {
		t.Errorf("%d pools, %d routes", len(g.pools), len(g.routes.Load().byName))
	}
}

// A pool whose last request ends after its model's last view ends at the next sweep.
func TestPoolsEndAfterTheirLastRequest(t *testing.T) {
	g, _ := rig(1, "ready")
	grant, err := g.Admit(t.Context(), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	g.Update(&messages.ModelView{Id: "model/main_pc/tiny", Name: "tiny", Attempt: 1, Phase: messages.ModelView_absent})
	grant.Release(messages.Outcome{})
	if g.sweep(time.Now()); len(g.pools) != 0 {
		t.Errorf("%d pools", len(g.pools))
	}
}
