package pool

import (
	"testing"
	"time"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// spreading is a pool on main_pc of a model that wants two workers, on two hosts. Its first worker is ready here.
func spreading(t *testing.T) *scene {
	s := &scene{t, New("chat", "main_pc", Figures{Limits: Limits{1, 20}, FailureThreshold: 9, ResetTimeout: 20 * time.Second, Apart: true}, nil), entitytest.Epoch, 0}
	declared := func(v *messages.ModelView) {
		idle := int64(60_000)
		v.Spec = &messages.ModelSpec{Name: "chat", MinReplicas: 2, MaxReplicas: 3, Hosts: []string{"main_pc", "pc2"}, IdleMs: &idle}
	}
	_ = s.is("model/main_pc/chat", messages.ModelView_ready, declared, replicas(1))
	_ = s.is("model/pc2/chat", messages.ModelView_absent, declared, unwanted)
	return s
}

// asks demands what a sweep asks for, after enough time that it may ask again.
func (s *scene) asks(when, want string) {
	s.Helper()
	s.wait(scaleAgain)
	if got := s.hints(); got != want {
		s.Errorf("%s: %q, want %q", when, got, want)
	}
}

func TestWorkersAreCountedOverTheHostsOfAModel(t *testing.T) {
	s := spreading(t)
	s.asks("the other host has none", "EnsureModel model/pc2/chat")
	_ = s.is("model/pc2/chat", messages.ModelView_loading, func(v *messages.ModelView) { v.Wanted = true })
	s.asks("it loads there", "")
	_ = s.is("model/pc2/chat", messages.ModelView_ready)
	s.asks("there are two", "")
	s.Reach("pc2", false, s.now)
	s.asks("the other host is away", "ScaleModel model/main_pc/chat 2")
	_ = s.is("model/main_pc/chat", messages.ModelView_ready, replicas(2))
	_ = s.is("model/main_pc/chat~2", messages.ModelView_ready)
	s.Reach("pc2", true, s.now)
	s.Load(messages.ModelActor("pc2", "chat"), 1, s.now.Add(time.Hour)) // else its idle time is over here
	s.asks("the other host is back", "")
	s.wait(scaleDown)
	s.asks("one here has been enough for a while", "ScaleModel model/main_pc/chat 1")
}

func TestAHostWithoutAPlaceHoldsUpNoReplica(t *testing.T) {
	s := spreading(t)
	for _, phase := range []messages.ModelView_Phase{messages.ModelView_placing, messages.ModelView_failed} {
		_ = s.is("model/pc2/chat", phase, func(v *messages.ModelView) { v.Wanted = true })
		s.asks(phase.String(), "ScaleModel model/main_pc/chat 2")
	}
}

func TestRequestsThatWaitLoadAHostWithoutAWorker(t *testing.T) {
	s := spreading(t)
	_ = s.is("model/main_pc/chat", messages.ModelView_ready, func(v *messages.ModelView) { v.Spec.MinReplicas = 1 })
	s.come(3)
	s.Sweep(s.now, false)
	s.asks("they wait", "EnsureModel model/pc2/chat")
}

// While requests run at one of its hosts, a model isn't unloaded on the other: it would be loaded again at once.
func TestWorkersOfAModelStayTogether(t *testing.T) {
	s := spreading(t)
	_ = s.is("model/pc2/chat", messages.ModelView_ready, func(v *messages.ModelView) { v.Wanted = true })
	s.pass(1, time.Second, answered)
	for range 12 {
		s.Load(messages.ModelActor("pc2", "chat"), 1, s.now)
		s.asks("requests run at the other host", "")
	}
	s.Load(messages.ModelActor("pc2", "chat"), 0, s.now)
	s.wait(time.Minute)
	s.asks("none runs for its idle time", "UnloadModel model/main_pc/chat")
}
