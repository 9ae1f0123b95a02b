package natsapi

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// parse reads a body as protojson of m; unknown fields and duplicates are refused by name.
func parse(data []byte, m proto.Message) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return invalid("body", "it is empty", "send "+string(m.ProtoReflect().Descriptor().Name())+" as JSON")
	}
	if err := protojson.Unmarshal(data, m); err != nil {
		return unreadable(data, err).WithHint("its fields are " + strings.Join(fields(m), ", "))
	}
	return nil
}

// The libraries begin their errors with their own names, one of them with a space that varies on purpose.
var preamble = regexp.MustCompile(`^(proto|json):\s*`)

func unreadable(data []byte, err error) *messages.Error {
	what := preamble.ReplaceAllString(strings.ReplaceAll(err.Error(), "\u00a0", " "), "")
	if !json.Valid(data) {
		return messages.NewError(messages.InvalidArgument, "body", "it is not JSON: "+what)
	}
	return messages.NewError(messages.InvalidArgument, "body", what)
}

func fields(m proto.Message) []string {
	all := m.ProtoReflect().Descriptor().Fields()
	out := make([]string, all.Len())
	for i := range out {
		out[i] = string(all.Get(i).Name())
	}
	return out
}
