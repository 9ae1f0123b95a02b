package control

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/messages"
)

// Scoped are the operations for the doors: a caller whose key is for some models only can run those on its models, and sees nothing of others.
// The doors have checked role and operation before.
func (c *Control) Scoped() messages.Operations {
	return messages.Through(func(ctx context.Context, o messages.Operation, request proto.Message) (proto.Message, error) {
		p := messages.CallerFrom(ctx).Principal
		if p.Scope == nil || len(p.Scope.Models) == 0 {
			return c.asked(ctx, o, request)
		}
		if err := c.within(p, o, request); err != nil {
			return nil, err
		}
		answer, err := c.asked(ctx, o, request)
		if err != nil || o.Reach != messages.Reach_LISTED_MODELS {
			return answer, err
		}
		return shownOf(answer, c.mayOf(p.Scope))
	})
}

func (c *Control) model(name string) messages.Model { return messages.ModelNamed(name, c.canonical) }

// within checks the models that a request names. One that names none is about the whole host.
func (c *Control) within(p messages.Principal, o messages.Operation, request proto.Message) error {
	if o.Reach != messages.Reach_NAMED_MODELS {
		return p.Allows(o, messages.Model{})
	}
	whole := o
	whole.Reach = messages.Reach_WHOLE_HOST
	m := request.ProtoReflect()
	for _, field := range o.About {
		said := m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(field))).String()
		if field == "actor" {
			id, err := c.actor(said)
			if err != nil || id.Kind != messages.KindModel {
				return p.Allows(whole, messages.Model{})
			}
			said = id.Name()
		}
		if of, is := c.jobsModel(field, said, m); is {
			said = of
		} else if field == "goal_id" {
			said = c.goalsModel(said, m)
		}
		if said == "" {
			return p.Allows(whole, messages.Model{})
		}
		if err := p.Allows(o, c.model(said)); err != nil {
			return err
		}
	}
	return nil
}

// goalsModel is the model of a goal that goal_id names. Of a goal that isn't there it is empty.
func (c *Control) goalsModel(said string, request protoreflect.Message) string {
	host := ""
	if f := request.Descriptor().Fields().ByName("host"); f != nil {
		host = request.Get(f).String()
	}
	name := strings.TrimPrefix(said, messages.KindGoal+"/")
	if at, rest, ok := strings.Cut(name, "/"); ok && host == "" {
		host, name = at, rest
	}
	for _, id := range c.goalsOf(name) {
		if host == "" || id.Host() == host {
			return c.o.View.Goal(id).GetSpec().GetModel()
		}
	}
	return ""
}

// jobsModel is the model of a job that a field names: job_id, or job/ID in place of a model. Of a job that isn't there it is empty.
func (c *Control) jobsModel(field, said string, request protoreflect.Message) (model string, is bool) {
	if field != "job_id" && !strings.HasPrefix(said, messages.KindJob+"/") {
		return "", false
	}
	host := ""
	if f := request.Descriptor().Fields().ByName("host"); f != nil {
		host = request.Get(f).String()
	}
	name := strings.TrimPrefix(said, messages.KindJob+"/")
	if at, rest, ok := strings.Cut(name, "/"); ok && (host == "" || host == at) {
		host, name = at, rest
	}
	for _, id := range c.jobsOf(name) {
		if host == "" || id.Host() == host {
			return c.o.View.Job(id).GetSpec().GetModel(), true
		}
	}
	return "", true
}

// shownOf leaves out of an answer what belongs to models that has doesn't name. An answer that isn't known here isn't shown.
func shownOf(answer proto.Message, has func(name string) bool) (proto.Message, error) {
	switch a := answer.(type) {
	case *messages.ModelList:
		a.Models = slices.DeleteFunc(a.Models, func(m *messages.ModelInfo) bool { return !has(m.Name) })
		a.TotalCount, a.TotalVramMb = int32(len(a.Models)), 0
		for _, m := range a.Models {
			a.TotalVramMb += m.VramMb
		}
	case *messages.ResidentList:
		a.Models = shownModels(a.Models, has)
	case *messages.JobList: // the operation itself left out the others, before it cut the list into pages
		a.Jobs = slices.DeleteFunc(a.Jobs, func(j *messages.LearningJob) bool { return !has(j.ModelName) })
	case *messages.GoalList:
		a.Goals = slices.DeleteFunc(a.Goals, func(g *messages.LearningGoal) bool { return !has(g.GetGoal().GetSpec().GetModel()) })
	case *messages.QueueView:
		a.Requests = slices.DeleteFunc(a.Requests, func(r *messages.QueuedRequest) bool { return !has(r.Model) })
	case *messages.SwapList:
		return &messages.SwapList{Routes: kept(a.Routes, func(r *messages.Route) bool { return has(r.Name) }),
			Swaps: kept(a.Swaps, func(s *messages.SwapReply) bool { return has(s.Name) })}, nil
	case *messages.HintList:
		return &messages.HintList{Hints: kept(a.Hints, func(h *messages.HintReply) bool { return has(nameOf(h.Model)) })}, nil
	case *messages.StatusView:
		// The devices are shown without who holds them, and of the host what isn't about models.
		out := &messages.StatusView{Version: a.Version, UptimeMs: a.UptimeMs, JournalSequence: a.JournalSequence, Hosts: a.Hosts, Models: shownModels(a.Models, has),
			Hints: kept(a.Hints, func(h *messages.HintReply) bool { return has(nameOf(h.Model)) })}
		if h := a.Host; h != nil {
			out.Host = &messages.HostView{Host: h.Host, BootId: h.BootId, Version: h.Version, Running: h.Running, StartedMs: h.StartedMs}
		}
		for _, g := range a.Gpus {
			g = proto.CloneOf(g)
			g.Reservations = slices.DeleteFunc(g.Reservations, func(r *messages.Reservation) bool { return !has(nameOf(r.Holder)) })
			g.Reading = nil
			out.Gpus = append(out.Gpus, g)
		}
		return out, nil
	default:
		return nil, messages.Errorf(messages.PermissionDenied, string(answer.ProtoReflect().Descriptor().Name()), "a key for some models only can't see it").WithHint("use a key for all models")
	}
	return answer, nil
}

func shownModels(list []*messages.ModelView, has func(string) bool) []*messages.ModelView {
	return kept(list, func(m *messages.ModelView) bool { return has(m.Name) })
}

// kept is a list without some items; the list itself may be shared and isn't changed.
func kept[T any](list []T, keep func(T) bool) (out []T) {
	for _, item := range list {
		if keep(item) {
			out = append(out, item)
		}
	}
	return out
}

// nameOf is the model's name of an actor, or the text itself.
func nameOf(actor string) string {
	if id, err := messages.ParseActorID(actor); err == nil && id.Kind == messages.KindModel {
		return id.Name()
	}
	return actor
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
