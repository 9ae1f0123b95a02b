package control

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"modelops/actors/arbiter"
	"modelops/messages"
)

// GetState shows any actor: its view, its state, its last sequence and what it owes.
func (c *Control) GetState(ctx context.Context, r *messages.StateRequest) (*messages.StateReply, error) {
	actor, err := c.actor(r.Actor)
	if err != nil {
		return nil, err
	}
	if c.isElsewhere(ctx, actor.Host()) {
		return there[*messages.StateReply](ctx, c, actor.Host(), "GetState", &messages.StateRequest{Actor: actor.String()})
	}
	if err := c.exists(ctx, actor); err != nil {
		return nil, err
	}
	return answer[*messages.StateReply](c.o.Door.Ask(ctx, actor, &messages.QueryView{}))
}

// answer is the reply that an actor must give.
func answer[A proto.Message](r messages.Reply, err error) (A, error) {
	a, ok := r.Answer.(A)
	if err == nil && !ok {
		err = messages.Errorf(messages.Internal, "", "answered with %T", r.Answer)
	}
	return a, err
}

// actor reads an actor's name, and completes short ones with this host.
func (c *Control) actor(name string) (messages.ActorID, error) {
	id, err := messages.ActorNamed(name, c.o.Host, c.knows)
	switch {
	case err != nil:
		return id, err
	case id.Kind == messages.KindGateway:
		return messages.ActorID{Kind: messages.KindGateway, ID: c.o.Host}, nil
	case id.Kind == messages.KindArbiter:
		return messages.ArbiterActor(), nil
	}
	return id, nil
}

// knows tells whether an actor of a host is known here.
func (c *Control) knows(host string) bool {
	return c.o.Hosts != nil && c.o.Hosts.Has(host) || slices.ContainsFunc(c.o.Actors(), func(a messages.ActorID) bool { return a.Kind != messages.KindArbiter && a.Host() == host })
}

// exists refuses names that no journal, configuration or device knows: a question must not spawn an actor.
func (c *Control) exists(ctx context.Context, actor messages.ActorID) error {
	if slices.Contains(c.o.Actors(), actor) || actor.Kind == messages.KindArbiter || actor.Kind == messages.KindGateway {
		return nil
	}
	if actor.Kind == messages.KindModel {
		return notFound(actor).WithHint(c.didYouMean(ctx, actor.Name()) + listModels)
	}
	return messages.NewError(messages.NotFound, actor.String(), "there is no such actor here").WithHint("modelops ps and modelops gpus list the actors")
}

// SendCommand gives any actor one of its commands and shows its answer and the events it caused. An internal command needs the role admin.
func (c *Control) SendCommand(ctx context.Context, r *messages.SendRequest) (*messages.SendReply, error) {
	actor, err := c.actor(r.Actor)
	if err != nil {
		return nil, err
	}
	if c.isElsewhere(ctx, actor.Host()) {
		return there[*messages.SendReply](ctx, c, actor.Host(), "SendCommand", &messages.SendRequest{Actor: actor.String(), Command: r.Command, Body: r.Body})
	}
	if r.Command == "" {
		return nil, invalid("command", "it is empty", "modelops send --help lists the commands of each kind")
	}
	info, err := messages.CommandNamed(actor.Kind, r.Command)
	if err != nil {
		return nil, err
	}
	command := info.New()
	if err := fill(command, r.Command, r.Body); err != nil {
		return nil, err
	}
	if err := c.maySend(messages.CallerFrom(ctx).Principal, info, command); err != nil {
		return nil, err
	}
	if err := noSecrets(command); err != nil {
		return nil, err
	}
	marked(command, messages.CallerFrom(ctx).Principal)
	if !info.First {
		if err := c.exists(ctx, actor); err != nil {
			return nil, err
		}
	}
	if err := forProgram(info, command); err != nil {
		return nil, err
	}
	reply, err := c.o.Door.Ask(ctx, actor, command)
	if err != nil {
		return nil, err
	}
	if _, unloads := command.(*messages.UnloadModel); unloads {
		c.o.Gateway.EndLoads(actor.Name())
	}
	return sent(reply)
}

// maySend refuses a command that a caller may not send. Reports tell an actor what happened, which only those know who saw it, and a crash is
// for drills of tests: neither comes from a door. Other internal commands, and one that says what a worker runs, need the role admin: a worker
// runs as the daemon's user.
func (c *Control) maySend(p messages.Principal, info messages.CommandInfo, command proto.Message) error {
	needs := func(why string) error {
		return messages.Errorf(messages.PermissionDenied, info.Name, "%s, and needs the role %s", why, messages.RoleName(messages.Role_ADMIN)).WithHint("use a key with that role, such as the operator's")
	}
	_, crash := command.(*messages.Crash)
	switch admin := p.May(messages.Role_ADMIN); {
	case crash && !c.o.Drills, strings.HasPrefix(info.Name, "Report"):
		return messages.NewError(messages.PermissionDenied, info.Name, "only actors send it").WithHint("modelops send --help lists the commands of each kind")
	case info.Visibility != messages.Visibility_PUBLIC && !admin:
		return needs("it is internal")
	case !admin && declares(command.ProtoReflect()):
		return needs("it says which program, file or address to use")
	case p.Scope != nil && declares(command.ProtoReflect()): // what it runs could do everything that the scope leaves out
		return messages.NewError(messages.PermissionDenied, info.Name, "it says which program, file or address to use, and the key is for some models or operations only").
			WithHint("use a key without models and operations, such as the operator's")
	}
	return nil
}

// marked names the sender in a command to a ledger, whatever the body says.
func marked(command proto.Message, p messages.Principal) {
	switch c := command.(type) {
	case *messages.ReserveVram:
		c.Owner = p.Mark()
	case *messages.ReleaseVram:
		c.By = p.MarkedBy()
	case *messages.RenewLease:
		c.By = p.MarkedBy()
	}
}

// noSecrets refuses a declaration in which a secret stands: it would be journaled. In a configuration file a secret may stand, because the file keeps it.
func noSecrets(command proto.Message) error {
	d, ok := command.(*messages.DeclareModel)
	if !ok {
		return nil
	}
	var s messages.Sealer
	for _, text := range []string{d.Spec.GetCmd(), d.Spec.GetCmdStop(), d.Spec.GetUrl(), d.Spec.GetPath()} {
		s.Text(text)
	}
	s.List(d.Spec.GetEnv())
	s.List(d.Spec.GetArgs())
	if len(s.Secrets) == 0 {
		return nil
	}
	return messages.NewError(messages.InvalidArgument, "spec", "a secret stands in the declaration, which is journaled").
		WithHint("write ${NAME} in its place and set the variable NAME in modelops' environment, or declare the model in the configuration file")
}

// declares tells whether a message holds a model's declaration.
func declares(m protoreflect.Message) (found bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				found = found || declares(v.List().Get(i).Message())
			}
		default:
			_, spec := v.Message().Interface().(*messages.ModelSpec)
			found = found || spec || declares(v.Message())
		}
		return !found
	})
	return found
}

// forProgram refuses a command that names an actor where only a program may stand. An empty name is for the command's owner to judge.
func forProgram(info messages.CommandInfo, command proto.Message) error {
	if info.Program == "" {
		return nil
	}
	m := command.ProtoReflect()
	named := m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(info.Program))).String()
	if named == "" || arbiter.IsProgram(named) {
		return nil
	}
	return messages.Errorf(messages.PermissionDenied, named, "%s is sent by hand for programs only", info.Name).
		WithHint("name the " + info.Program + " client/NAME; modelops load reserves memory for a model")
}

// fill sets a command's fields as its JSON says.
func fill(command proto.Message, name string, body *structpb.Struct) error {
	if body == nil {
		return nil
	}
	b, err := body.MarshalJSON()
	if err == nil {
		err = protojson.Unmarshal(b, command)
	}
	if err != nil {
		refused := messages.Misread(name, command, err.Error())
		refused.Message = "its JSON can't be read: " + refused.Message
		return refused
	}
	return nil
}

// sent shows a reply in JSON, with the names that journal and CLI use.
func sent(r messages.Reply) (out *messages.SendReply, err error) {
	out = &messages.SendReply{Sequence: float64(r.Sequence)}
	if r.Answer != nil {
		out.AnswerType = string(r.Answer.ProtoReflect().Descriptor().Name())
		if out.Answer, err = asJSON(r.Answer); err != nil {
			return nil, err
		}
	}
	out.Events, err = recorded(r.Events)
	return out, err
}

// recorded shows events under their stable names.
func recorded(events []proto.Message) (out []*messages.RecordedEvent, err error) {
	for _, e := range events {
		body, err := asJSON(e)
		if err != nil {
			return nil, err
		}
		out = append(out, &messages.RecordedEvent{Name: messages.EventName(e), Body: body})
	}
	return out, nil
}

var inJSON = protojson.MarshalOptions{UseProtoNames: true}

func asJSON(m proto.Message) (*structpb.Struct, error) {
	b, err := inJSON.Marshal(m)
	if err != nil {
		return nil, err
	}
	out := &structpb.Struct{}
	return out, protojson.Unmarshal(b, out)
}
