package control

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/messages"
)

// asked runs an operation, at the host of which it is asked. Lists of all hosts are narrowed to that one, also while it can't be reached. Where the request has a
// field for the host of its model, that is filled; everything else is run there.
func (c *Control) asked(ctx context.Context, o messages.Operation, request proto.Message) (proto.Message, error) {
	caller := messages.CallerFrom(ctx)
	host := caller.Only.Host
	if host == "" {
		return o.Call(ctx, c, request)
	}
	caller.Only = messages.Only{}
	ctx = messages.WithCaller(ctx, caller)
	if m := request.ProtoReflect(); o.Reach == messages.Reach_NAMED_MODELS {
		if field := m.Descriptor().Fields().ByName("host"); field != nil {
			if m.Get(field).String() == "" {
				m.Set(field, protoreflect.ValueOfString(host))
			}
			return o.Call(ctx, c, request)
		}
	}
	if r, pages := request.(*messages.JobsRequest); pages && r.Host == "" { // narrowed before it is cut into pages
		r.Host = host
	}
	if host != c.o.Host && (c.o.Hosts == nil || !c.o.Hosts.Has(host)) {
		return nil, messages.NoMember(host)
	}
	if isList(o.Answer()) || host == c.o.Host {
		answer, err := o.Call(ctx, c, request)
		if err == nil {
			narrow(answer, host)
			if s, ok := answer.(*messages.StatusView); ok {
				s.Host = c.o.View.Host(messages.HostActor(host))
			}
		}
		return answer, err
	}
	return c.o.Hosts.Call(ctx, host, o.Name, request)
}

// isList tells whether an answer lists what is known of all hosts.
func isList(answer proto.Message) bool {
	switch answer.(type) {
	case *messages.StatusView, *messages.ResidentList, *messages.QueueView, *messages.ModelList, *messages.JobList, *messages.GoalList:
		return true
	}
	return false
}

// narrow leaves of an answer what is of one host. What this host alone says of itself, such as its version, stays.
func narrow(answer proto.Message, host string) {
	switch a := answer.(type) {
	case *messages.StatusView:
		a.Models, a.Gpus, a.Hosts = of(a.Models, host), of(a.Gpus, host), of(a.Hosts, host)
	case *messages.ResidentList:
		a.Models, a.Hosts = of(a.Models, host), of(a.Hosts, host)
	case *messages.QueueView:
		a.Requests = slices.DeleteFunc(a.Requests, func(r *messages.QueuedRequest) bool { return r.Host != "" && r.Host != host })
		for _, h := range a.Hosts {
			if h.Host == host {
				a.Active, a.Queued, a.MaxActive, a.MaxQueued = h.Active, h.Queued, 0, 0
			}
		}
		a.Hosts = of(a.Hosts, host)
	case *messages.JobList:
		a.Jobs, a.Hosts = of(a.Jobs, host), of(a.Hosts, host)
	case *messages.GoalList:
		a.Goals, a.Hosts = of(a.Goals, host), of(a.Hosts, host)
	case *messages.ModelList:
		a.Models, a.TotalVramMb = of(a.Models, host), 0
		for _, m := range a.Models {
			a.TotalVramMb += m.VramMb
		}
		a.TotalCount = int32(len(a.Models))
	}
}

func of[T interface{ GetHost() string }](list []T, host string) []T {
	return kept(list, func(v T) bool { return v.GetHost() == host })
}
