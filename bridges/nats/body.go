package natsapi

import (
	"bytes"
	"encoding/json"

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
		e := messages.Misread("body", m, err.Error())
		if !json.Valid(data) {
			e.Message = "it is not JSON: " + e.Message
		}
		return e
	}
	return nil
}
