package control

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func pinnedView(name, owner, on string, gib uint64, groups ...string) *messages.ModelView {
	v := &messages.ModelView{Name: name, Phase: messages.ModelView_absent, PinnedBy: owner, Spec: &messages.ModelSpec{Name: name, Groups: groups, VramBytes: gib << 30}}
	if on != "" {
		v.Phase, v.Placement = messages.ModelView_ready, &messages.Placement{Shares: []*messages.Share{{Gpu: on, Bytes: gib << 30}}}
	}
	return v
}

func TestPinConflictsNameTheOthers(t *testing.T) {
	gpus := []*messages.GpuView{{Id: "gpu/h/a", LimitBytes: 20 << 30}, {Id: "gpu/h/b", LimitBytes: 10 << 30}}
	a, b := pinnedView("a", "alice", "gpu/h/a", 15, "big"), pinnedView("b", "", "gpu/h/b", 8)
	b.Spec.Pinned = true
	c := pinnedView("c", "", "gpu/h/a", 5) // resident, and can be evicted
	all := func(string) bool { return true }
	for _, x := range []struct {
		m     *messages.ModelView
		shows func(string) bool
		want  string
	}{
		{pinnedView("small", "me", "", 5), all, ""},
		{pinnedView("large", "me", "", 6), all, "it needs 6144 MiB, and at most 5120 MiB can be free on one device while these models are pinned: a by alice (15.0 GiB), b by configuration (8192 MiB)"},
		{pinnedView("large", "", "", 6), all, ""},          // not pinned
		{pinnedView("large", "me", "gpu/h/b", 6), all, ""}, // it is there already
		{pinnedView("rival", "me", "", 1, "x", "big"), all, "a is pinned by alice, and group big allows only one of the two to be loaded"},
		{pinnedView("rival", "me", "", 1, "big"), func(n string) bool { return n == "rival" }, "another model is pinned, and group big allows only one of the two to be loaded"},
	} {
		if got := strings.Join(conflicts(x.m, []*messages.ModelView{a, b, c, x.m}, gpus, time.Now(), x.shows), "; "); got != x.want {
			t.Errorf("%s: %q, want %q", x.m.Name, got, x.want)
		}
	}
}

// The reply to a pin carries the conflicts, so every door's callers see them; a key for some models learns no other's name.
func TestAPinSaysItsConflicts(t *testing.T) {
	h := open()
	rival := pinnedView("rival", "alice", "", 1, "big")
	rival.Id = "model/h/rival"
	mine := tiny(messages.ModelView_absent, 0)
	mine.Spec.Groups = []string{"big"}
	h.shows(rival)
	h.shows(mine)
	h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
		v := proto.CloneOf(mine)
		v.PinnedBy = m.(*messages.PinModel).Owner
		h.shows(v)
		return messages.Reply{}, nil
	}
	if r, err := h.PinModel(t.Context(), &messages.PinModelRequest{ModelName: "tiny"}); err != nil || len(r.Conflicts) != 1 || !strings.HasPrefix(r.Conflicts[0], "rival is pinned by alice") {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := h.PinModel(scoped(t, "tiny"), &messages.PinModelRequest{ModelName: "tiny"}); err != nil || len(r.Conflicts) != 1 || !strings.HasPrefix(r.Conflicts[0], "another model is pinned,") {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := h.UnpinModel(t.Context(), &messages.UnpinModelRequest{ModelName: "tiny"}); err != nil || len(r.Conflicts) != 0 {
		t.Errorf("%v, %v", r, err)
	}
}
