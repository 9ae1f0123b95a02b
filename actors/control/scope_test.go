package control

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/messages"
)

func scoped(t *testing.T, models ...string) context.Context {
	return messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "k", Role: messages.Role_ADMIN, Scope: &messages.Scope{Models: models}}})
}

// What an operation says it lists is filtered by name; one whose answer nobody filters is refused. So a new operation shows nothing by mistake.
func TestAScopeSeesItsModelsOnly(t *testing.T) {
	views := func() []*messages.ModelView {
		return []*messages.ModelView{{Name: "mine"}, {Name: "mine~2"}, {Name: "canary"}}
	}
	answers := map[string]proto.Message{
		"ListModels":   &messages.ModelList{Models: []*messages.ModelInfo{{Name: "mine", VramMb: 1}, {Name: "canary", VramMb: 2}}, TotalCount: 2, TotalVramMb: 3},
		"GetStatus":    &messages.StatusView{Models: views(), Hints: []*messages.HintReply{{Model: "canary"}}, Host: &messages.HostView{Host: "h", Routes: []*messages.Route{{Name: "canary"}}, Swaps: []*messages.SwapReply{{Name: "canary"}}, GaveUp: []string{"model/h/canary"}}, Defrag: &messages.DefragPlan{Note: "canary"}, Gpus: []*messages.GpuView{{Id: "g", Reservations: []*messages.Reservation{{Holder: "model/h/canary"}, {Holder: "client/canary"}, {Holder: "model/h/mine"}}}}},
		"ListResident": &messages.ResidentList{Models: views()},
		"GetQueue":     &messages.QueueView{Requests: []*messages.QueuedRequest{{Model: "mine"}, {Model: "canary"}}},
		"ListSwaps":    &messages.SwapList{Routes: []*messages.Route{{Name: "mine"}, {Name: "canary"}}, Swaps: []*messages.SwapReply{{Name: "canary"}}},
		"ListGoals":    &messages.GoalList{Goals: []*messages.LearningGoal{{GoalId: "mine", Goal: &messages.GoalView{Spec: &messages.GoalSpec{Model: "mine"}}}, {GoalId: "canary", Goal: &messages.GoalView{Spec: &messages.GoalSpec{Model: "canary"}}}}},
		"ListJobs":     &messages.JobList{Jobs: []*messages.LearningJob{{ModelName: "mine"}, {ModelName: "canary"}}},
		"ListHints":    &messages.HintList{Hints: []*messages.HintReply{{Model: "mine"}, {Model: "model/h/canary"}}},
	}
	scope := &messages.Scope{Models: []string{"mine"}}
	for _, o := range messages.OperationTable() {
		if o.Reach != messages.Reach_LISTED_MODELS {
			continue
		}
		a, ok := answers[o.Name]
		if !ok {
			t.Errorf("%s: say here what it answers", o.Name)
			continue
		}
		got, err := shownOf(a, func(name string) bool {
			return scope.Has(messages.ModelNamed(name, func(n string) string { return n }))
		})
		if text := prototext.Format(got); err != nil || strings.Contains(text, "canary") || o.Name != "ListSwaps" && !strings.Contains(text, "mine") {
			t.Errorf("%s shows %s %v", o.Name, text, err)
		}
	}
	if _, err := shownOf(&messages.ConfigView{}, nil); messages.CodeOf(err) != messages.PermissionDenied {
		t.Error(err)
	}
}

// A key for some models runs what names one of them, by name or alias, and nothing that is about the host.
func TestAScopeRunsWhatIsAboutItsModels(t *testing.T) {
	for said, want := range map[string]bool{"tiny": true, "small": true, "tiny~2": true, "model/h/tiny": true, "model/h/tiny~2": true, "other": false, "": false, "gpu/h/gpu0": false, "arbiter": false, "model/h/other": false} {
		for _, scope := range []string{"tiny", "small", "t*y"} { // small is its alias
			h := open()
			h.shows(tiny(messages.ModelView_ready, 1))
			for _, o := range messages.OperationTable() {
				if o.Call == nil || slices.Contains(o.About, "job_id") || slices.Contains(o.About, "goal_id") { // TestAScopeSeesTheJobsOfItsModels, TestGoalsOfOtherModels
					continue
				}
				request := o.Request()
				for _, field := range o.About {
					request.ProtoReflect().Set(request.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(field)), protoreflect.ValueOfString(said))
				}
				actor := len(o.About) == 1 && o.About[0] == "actor"
				expected := o.Reach != messages.Reach_WHOLE_HOST && (o.Reach != messages.Reach_NAMED_MODELS || want && actor == strings.Contains(said, "/"))
				err := h.within(messages.CallerFrom(scoped(t, scope)).Principal, o, request)
				if (err == nil) != expected || err != nil && (messages.CodeOf(err) != messages.PermissionDenied || !strings.Contains(err.Error(), scope)) {
					t.Errorf("%s of %q with a key for %s: %v", o.Name, said, scope, err)
				}
			}
			h.end()
		}
	}
}

// A caller ends its own requests. Who may see those of others is told that it may not end them; who may not isn't.
func TestCallersEndTheirOwnRequests(t *testing.T) {
	for role, want := range map[messages.Role]messages.Code{messages.Role_INFER: 0, messages.Role_READ: messages.PermissionDenied, messages.Role_OPERATE: 0} {
		h := open()
		ctx := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "k", Role: role}})
		if r, err := h.CancelRequest(ctx, &messages.CancelRequestRequest{RequestId: "another's"}); messages.CodeOf(err) != want || r.GetCancelled() {
			t.Errorf("%s: %v %v", role, r, err)
		}
	}
}

// A key can't make one that may do more than it.
func TestAKeyWithAScopeMakesNone(t *testing.T) {
	h := open()
	h.o.Keys = noKeys{}
	for what, scope := range map[string]*messages.Scope{"models": {Models: []string{"*"}}, "operations": {Operations: []string{"AddKey"}}} {
		ctx := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "k", Role: messages.Role_ADMIN, Scope: scope}})
		if _, err := h.AddKey(ctx, &messages.AddKeyRequest{Name: "x", Role: "admin"}); messages.CodeOf(err) != messages.PermissionDenied {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, bad := range []*messages.AddKeyRequest{{}, {Name: "a b"}, {Name: "a", Role: "root"}, {Name: "a", Class: "none"}, {Name: "a", Expires: "soon"}, {Name: "a", Expires: "2020-01-01"}, {Name: "a", Models: []string{""}},
		{Name: "a", Operations: []string{"Infre"}}} {
		if _, err := h.AddKey(asAdmin(t), bad); messages.CodeOf(err) != messages.InvalidArgument || messages.AsError(err).Hint == "" {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

type noKeys struct{ Keys }

func (noKeys) Classes() []string { return []string{"normal"} }

// A name is answered with the one that was meant only when the key is for that.
func TestWhatWasMeantIsOfTheScope(t *testing.T) {
	h := open()
	h.shows(tiny(messages.ModelView_ready, 1))
	for scope, told := range map[string]bool{"tiny": true, "t*": true, "tinn*": false, "other": false} {
		for what, ask := range map[string]func(context.Context) error{
			"load": func(ctx context.Context) error {
				_, err := h.LoadModel(ctx, &messages.ModelLoadRequest{ModelName: "tinny"})
				return err
			},
			"unload": func(ctx context.Context) error {
				_, err := h.UnloadModel(ctx, &messages.ModelUnloadRequest{ModelName: "tinny"})
				return err
			},
			"pin": func(ctx context.Context) error {
				_, err := h.PinModel(ctx, &messages.PinModelRequest{ModelName: "tinny"})
				return err
			},
			"why": func(ctx context.Context) error {
				_, err := h.Why(ctx, &messages.WhyRequest{Subject: "tinny"})
				return err
			},
		} {
			err := ask(scoped(t, scope))
			if e := messages.AsError(err); err == nil || strings.Contains(e.Hint+e.Message, `"tiny"`) != told {
				t.Errorf("%s with a key for %s: %v (%s)", what, scope, err, messages.AsError(err).Hint)
			}
		}
	}
}
