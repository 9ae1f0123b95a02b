package messages

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
)

// Operation is one rpc of the service as the doors offer it. The table is generated from operations.proto.
type Operation struct {
	Name string // of the rpc, such as LoadModel
	Role Role   // that a principal needs
	// Reach is what of the host it shows or changes, and About are the fields of the request that name a model or an actor.
	Reach Reach
	About []string
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
