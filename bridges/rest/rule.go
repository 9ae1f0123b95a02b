package rest

import (
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/messages"
)

// rules are the operations by the method and the pattern of their http rules. The routes name an operation only after they have read the
// request's body, and nobody's body is read before the role is known to be enough.
type rules map[string]messages.Operation

func newRules() rules {
	out := rules{}
	all := messages.File_operations_proto.Services().Get(0).Methods()
	for i := range all.Len() {
		operation, ok := messages.OperationNamed(string(all.Get(i).Name()))
		if !ok {
			continue
		}
		all.Get(i).Options().ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if f.FullName() == "google.api.http" {
				out.add(operation, v.Message())
			}
			return true
		})
	}
	return out
}

// add reads a google.api.HttpRule.
func (r rules) add(o messages.Operation, rule protoreflect.Message) {
	fields := rule.Descriptor().Fields()
	for name, method := range map[protoreflect.Name]string{"get": http.MethodGet, "post": http.MethodPost} {
		if path := rule.Get(fields.ByName(name)).String(); path != "" {
			r[method+" "+path] = o
		}
	}
	more := rule.Get(fields.ByName("additional_bindings")).List()
	for i := range more.Len() {
		r.add(o, more.Get(i).Message())
	}
}

// may tells whether a principal may run the operation of a route, as far as its role and scope say before the request is read. A route without a
// rule would be one that nothing guards, and is refused.
func (r rules) may(p messages.Principal, method, pattern string) error {
	operation, ok := r[method+" "+pattern]
	if !ok {
		return messages.Errorf(messages.Internal, pattern, "the route has no operation")
	}
	return p.Allows(operation, messages.Model{})
}
