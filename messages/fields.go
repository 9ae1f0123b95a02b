package messages

import (
	"strings"

	"google.golang.org/protobuf/proto"
)

// FieldNames lists the fields of m as its JSON and the documentation name them.
func FieldNames(m proto.Message) []string {
	all := m.ProtoReflect().Descriptor().Fields()
	out := make([]string, all.Len())
	for i := range out {
		out[i] = string(all.Get(i).Name())
	}
	return out
}

// Misread is the refusal of JSON that isn't an m, in the words of the JSON library, with the fields of m as its hint. Every door answers with it.
func Misread(subject string, m proto.Message, what string) *Error {
	what = strings.ReplaceAll(what, "\u00a0", " ") // the library's space varies on purpose
	for _, library := range []string{"proto:", "json:"} {
		what = strings.TrimLeft(strings.TrimPrefix(what, library), " ")
	}
	hint := "it has no fields"
	if names := FieldNames(m); len(names) > 0 {
		hint = "its fields are " + strings.Join(names, ", ")
	}
	return NewError(InvalidArgument, subject, what).WithHint(hint)
}
