package rest

import (
	"net/http"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"

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
		rule, ruled := proto.GetExtension(all.Get(i).Options(), annotations.E_Http).(*annotations.HttpRule)
		if !ok || !ruled || rule == nil {
			continue
		}
		for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			if path := r.GetGet(); path != "" {
				out[http.MethodGet+" "+path] = operation
			} else if path := r.GetPost(); path != "" {
				out[http.MethodPost+" "+path] = operation
			}
		}
	}
	return out
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
