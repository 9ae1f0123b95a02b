package messages

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// Operation is one rpc of the service as the doors offer it. The table is generated from operations.proto.
type Operation struct {
	Name string // of the rpc, such as LoadModel
	Role Role   // that a principal needs
	// NATS is the subject under modelops.v1; empty = not offered there. NATSName is the field of the request that the rest of the subject
	// fills; empty = the subject has no rest.
	NATS, NATSName string
	Empty          bool // a request without a body means something
	Doc            string
	Request        func() proto.Message // an empty one
	Answer         func() proto.Message // an empty one
	// Call runs it; nil for inference, which has a way of its own at each door.
	Call func(ctx context.Context, to Operations, request proto.Message) (proto.Message, error)
}

// OperationTable lists every operation, in the order of operations.proto.
func OperationTable() []Operation { return slices.Clone(operationTable) }

// OperationNamed finds an operation by the name of its rpc.
func OperationNamed(name string) (Operation, bool) {
	i := slices.IndexFunc(operationTable, func(o Operation) bool { return o.Name == name })
	if i < 0 {
		return Operation{}, false
	}
	return operationTable[i], true
}

// answered turns a typed answer into a message: a nil pointer would not be a nil interface.
func answered[M proto.Message](m M, err error) (proto.Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Through is Operations in front of others: every call goes through one function, which may check the caller before it runs o.Call.
type Through func(ctx context.Context, o Operation, request proto.Message) (proto.Message, error)

func through[A proto.Message](ctx context.Context, t Through, name string, request proto.Message) (answer A, err error) {
	o, ok := OperationNamed(name)
	if !ok {
		return answer, NewError(Internal, name, "there is no such operation")
	}
	m, err := t(ctx, o, request)
	if err != nil {
		return answer, err
	}
	answer, ok = m.(A)
	if !ok {
		return answer, Errorf(Internal, name, "answered with %T", m)
	}
	return answer, nil
}

// Allow tells whether a principal may run the operation. The error is PermissionDenied.
func (o Operation) Allow(p Principal) error {
	if p.May(o.Role) {
		return nil
	}
	return Errorf(PermissionDenied, o.Name, "it needs the role %s, the caller has %s", roleName(o.Role), roleName(p.Role)).
		WithHint("use a key with that role")
}

func roleName(r Role) string {
	if r == Role_ROLE_UNKNOWN {
		return "none"
	}
	return strings.ToLower(r.String())
}

// Credentials are what a request carries to prove its sender.
type Credentials struct {
	Key string // of the API; empty when the request has none
	For Role   // what is asked for: which callers need a key may depend on it
}

// Principal is the sender of a request.
type Principal struct {
	Name        string // empty without a key
	Class       string // priority class; empty = the default one
	Fingerprint string // of the key, never the key; empty without one
	Role        Role   // the highest that it has; ROLE_UNKNOWN = none
}

// May tells whether the principal's role covers what an operation needs. Roles rise from infer over read and operate to admin; a peer is
// another host and covers nothing of these. Nobody may do what names no role: it would be open to all by mistake.
func (p Principal) May(role Role) bool {
	switch {
	case p.Role == Role_ROLE_UNKNOWN || role == Role_ROLE_UNKNOWN:
		return false
	case p.Role == Role_PEER || role == Role_PEER:
		return p.Role == role
	}
	return p.Role >= role
}

// Authenticate finds the principal of credentials. The error is Unauthenticated.
type Authenticate func(Credentials) (Principal, error)

// Authorize finds the principal of a key and checks that it may run an operation. The errors are Unauthenticated and PermissionDenied.
func (a Authenticate) Authorize(o Operation, key string) (Principal, error) {
	p, err := a.Of(Credentials{Key: key, For: o.Role})
	if err == nil {
		err = o.Allow(p)
	}
	return p, err
}

// inference is the operation of every route and subject that reaches an engine, whatever its dialect.
var inference = mustOperation("Infer")

// mustOperation is OperationNamed for a name that is in the code. A missing one panics: an empty operation has no role to check.
func mustOperation(name string) Operation {
	o, ok := OperationNamed(name)
	if !ok {
		panic("messages: operations.proto has no rpc " + name)
	}
	return o
}

// AuthorizeInference is Authorize for a request to an engine.
func (a Authenticate) AuthorizeInference(key string) (Principal, error) {
	return a.Authorize(inference, key)
}

// Of is the principal of credentials. A nil Authenticate gives an anonymous admin.
func (a Authenticate) Of(c Credentials) (Principal, error) {
	if a == nil {
		return Principal{Role: Role_ADMIN}, nil
	}
	return a(c)
}
