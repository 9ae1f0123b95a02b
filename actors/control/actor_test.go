package control

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"modelops/messages"
)

// Asking for the state of an actor or sending to it spawns none: an unknown one is refused before the door.
func TestUnknownActors(t *testing.T) {
	for actor, c := range map[string]struct {
		command string
		code    messages.Code
	}{
		"model/h/typo": {"EnsureModel", messages.ModelNotFound}, "gpu/h/typo": {"ReserveVram", messages.NotFound}, "host/typo": {"SwapModel", messages.NotFound},
		"what/typo": {"EnsureModel", messages.InvalidArgument}, "model/": {"EnsureModel", messages.InvalidArgument},
	} {
		h := open()
		_, err := h.GetState(t.Context(), &messages.StateRequest{Actor: actor})
		is(t, err, c.code, actor, "")
		_, err = h.SendCommand(t.Context(), &messages.SendRequest{Actor: actor, Command: c.command})
		is(t, err, c.code, actor, "")
		if h.asked != nil {
			t.Errorf("asked %q", h.asked)
		}
	}
}

// What follows the kind is a host only when an actor of it is known; a model's name may hold slashes. A key's scope reads the same name.
func TestActorsAreReadByKnownHosts(t *testing.T) {
	for actor, want := range map[string]string{"model/tiny": "model/h/tiny", "model/org/tiny": "model/h/org/tiny", "model/h/org/tiny": "model/h/org/tiny", "model/pc2/tiny": "model/pc2/tiny", "gpu/cpu": "gpu/h/cpu", "host": "host/h"} {
		h := open()
		id, _ := messages.ParseActorID(want)
		h.live = []messages.ActorID{id, messages.GPUActor("pc2", "cpu")}
		h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
			return messages.Reply{Answer: &messages.StateReply{}}, nil
		}
		if _, err := h.GetState(t.Context(), &messages.StateRequest{Actor: actor}); err != nil || h.asked[0] != want+" QueryView" {
			t.Errorf("%s: asked %q, %v", actor, h.asked, err)
		}
		allowed := id.Kind == messages.KindModel && id.Name() == "tiny"
		if _, err := h.Scoped().GetState(scoped(t, "tiny"), &messages.StateRequest{Actor: actor}); (err == nil) != allowed {
			t.Errorf("%s with a key for tiny: %v", actor, err)
		}
	}
}

// The gateway and the arbiter need no name, and a running actor is asked.
func TestState(t *testing.T) {
	for actor, to := range map[string]string{"gateway": "gateway/h", "arbiter": "arbiter", "model/h/tiny": "model/h/tiny"} {
		h := open()
		h.live = []messages.ActorID{messages.ModelActor("h", "tiny")}
		h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
			return messages.Reply{Answer: &messages.StateReply{Sequence: 3}}, nil
		}
		if s, err := h.GetState(t.Context(), &messages.StateRequest{Actor: actor}); err != nil || s.Sequence != 3 || h.asked[0] != to+" QueryView" {
			t.Errorf("%v: %v, %v, asked %q", actor, s, err, h.asked)
		}
		h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
			return messages.Reply{}, messages.NewError(messages.Unavailable, to, "it crashed too often")
		}
		_, err := h.GetState(t.Context(), &messages.StateRequest{Actor: actor})
		is(t, err, messages.Unavailable, to, "it crashed too often")
	}
}

func body(t *testing.T, fields map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A command is one of its actor's kind. An internal one needs the role admin.
func TestSend(t *testing.T) {
	admin := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Role: messages.Role_ADMIN}})
	scoped := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "k", Role: messages.Role_ADMIN, Scope: &messages.Scope{Models: []string{"m", "tiny", "new"}}}})
	operator := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Role: messages.Role_OPERATE}})
	for name, c := range map[string]struct {
		ctx           context.Context
		command       string
		body          map[string]any
		code          messages.Code
		subject, text string
	}{
		"no command":                 {admin, "", nil, messages.InvalidArgument, "command", "empty"},
		"an unknown command":         {admin, "Explode", nil, messages.InvalidArgument, "Explode", "take no such command"},
		"another kind's":             {admin, "ReserveVram", nil, messages.InvalidArgument, "ReserveVram", "actors of kind model take no such command"},
		"a field that isn't there":   {admin, "EnsureModel", map[string]any{"rason": "x"}, messages.InvalidArgument, "EnsureModel", "its JSON can't be read"},
		"a field of another type":    {admin, "EnsureModel", map[string]any{"reason": 3.0}, messages.InvalidArgument, "EnsureModel", "its JSON can't be read"},
		"a command that is refused":  {admin, "UnloadModel", nil, messages.FailedPrecondition, "model/h/tiny", "no"},
		"an operator's internal one": {operator, "RetryLoad", nil, messages.PermissionDenied, "RetryLoad", "needs the role admin"},
		"internal, without a role":   {t.Context(), "RetryLoad", nil, messages.PermissionDenied, "RetryLoad", "needs the role admin"},
		"an admin's internal one":    {admin, "RetryLoad", nil, 0, "", ""},
		"an operator's program":      {operator, "DeclareModel", map[string]any{"spec": map[string]any{"cmd": "sh"}}, messages.PermissionDenied, "DeclareModel", "needs the role admin"},
		"an operator's file":         {operator, "DeclareModel", map[string]any{"spec": map[string]any{"path": "/etc/shadow"}}, messages.PermissionDenied, "DeclareModel", "needs the role admin"},
		"a scoped admin's program":   {scoped, "DeclareModel", map[string]any{"spec": map[string]any{"cmd": "sh"}}, messages.PermissionDenied, "DeclareModel", "some models or operations only"},
		"an admin's program":         {admin, "DeclareModel", map[string]any{"spec": map[string]any{"cmd": "sh"}}, 0, "", ""},
		"a secret in a command":      {admin, "DeclareModel", map[string]any{"spec": map[string]any{"cmd": "sh --api-key canary"}}, messages.InvalidArgument, "spec", "a secret stands"},
		"a secret in env":            {admin, "DeclareModel", map[string]any{"spec": map[string]any{"env": []any{"DB_PW=canary"}}}, messages.InvalidArgument, "spec", "a secret stands"},
		"a secret in a URL":          {admin, "DeclareModel", map[string]any{"spec": map[string]any{"url": "http://me:canary@h/v1"}}, messages.InvalidArgument, "spec", "a secret stands"},
		"a variable in a command":    {admin, "DeclareModel", map[string]any{"spec": map[string]any{"cmd": "sh --api-key ${KEY}"}}, 0, "", ""},
		"a crash":                    {admin, "Crash", nil, messages.PermissionDenied, "Crash", "only actors"},
		"an operator's public one":   {operator, "EnsureModel", map[string]any{"reason": "x"}, 0, "", ""},
		"a command without a body":   {admin, "EnsureModel", nil, 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := open()
			h.live = []messages.ActorID{messages.ModelActor("h", "tiny")}
			h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
				if _, unload := m.(*messages.UnloadModel); unload {
					return messages.Reply{}, messages.NewError(messages.FailedPrecondition, to.String(), "no")
				}
				return messages.Reply{Answer: &messages.Done{Note: "n"}, Events: []proto.Message{&messages.ModelWanted{Attempt: 2}}, Sequence: 9}, nil
			}
			r := &messages.SendRequest{Actor: "model/h/tiny", Command: c.command}
			if c.body != nil {
				r.Body = body(t, c.body)
			}
			reply, err := h.SendCommand(c.ctx, r)
			is(t, err, c.code, c.subject, c.text)
			if err == nil && (reply.AnswerType != "Done" || reply.Answer.AsMap()["note"] != "n" || reply.Sequence != 9 || len(reply.Events) != 1 ||
				reply.Events[0].Name != "model.wanted" || reply.Events[0].Body.AsMap()["attempt"] != "2") {
				t.Errorf("%v", reply)
			}
		})
	}
	h := open() // a declaration makes its actor
	if _, err := h.SendCommand(admin, &messages.SendRequest{Actor: "model/h/new", Command: "DeclareModel"}); err != nil || h.asked[0] != "model/h/new DeclareModel" {
		t.Errorf("%v, asked %q", err, h.asked)
	}
}

// A report comes from a door never: who sends one could tell an actor that its worker is ready, or gone.
func TestNobodyReports(t *testing.T) {
	admin := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Role: messages.Role_ADMIN}})
	seen := 0
	for _, kind := range messages.Kinds() {
		for _, info := range messages.Commands(kind.Name) {
			if !strings.HasPrefix(info.Name, "Report") && info.Name != "Crash" {
				continue
			}
			seen++
			h := open()
			if _, err := h.SendCommand(admin, &messages.SendRequest{Actor: kind.Example, Command: info.Name}); messages.CodeOf(err) != messages.PermissionDenied || len(h.asked) > 0 {
				t.Errorf("%s of %s: %v, asked %q", info.Name, kind.Name, err, h.asked)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d reports were tried", seen)
	}
}

// Memory that is reserved by hand is a program's: with a lease that names a model, the arbiter has a placement for it and the model never loads.
func TestMemoryReservedByHandIsAPrograms(t *testing.T) {
	admin := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Role: messages.Role_ADMIN}})
	for holder, want := range map[string]messages.Code{
		"client/me": 0, "model/h/tiny": messages.PermissionDenied, "model/elsewhere/tiny": messages.PermissionDenied, "me": messages.PermissionDenied,
	} {
		h := open()
		h.live = []messages.ActorID{messages.GPUActor("h", "gpu0")}
		h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) { return messages.Reply{}, nil }
		_, err := h.SendCommand(admin, &messages.SendRequest{Actor: "gpu/h/gpu0", Command: "ReserveVram", Body: body(t, map[string]any{"lease": "l", "holder": holder, "bytes": 1.0})})
		if messages.CodeOf(err) != want || (len(h.asked) > 0) != (want == 0) {
			t.Errorf("%s: %v, asked %q", holder, err, h.asked)
		}
	}
}
