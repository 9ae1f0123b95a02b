package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// ringing is a service of one rpc, and what it needs of options.proto.
const ringing = `
file_to_generate: "bell.proto"
proto_file {
  name: "google/protobuf/descriptor.proto" package: "google.protobuf" options { go_package: "x/y" }
  message_type { name: "MethodOptions" extension_range { start: 1000 end: 536870912 } }
  message_type { name: "MessageOptions" extension_range { start: 1000 end: 536870912 } }
}
proto_file {
  name: "options.proto" package: "modelops" syntax: "proto3" options { go_package: "x/y" } dependency: "google/protobuf/descriptor.proto"
  enum_type { name: "Role" value { name: "ROLE_UNKNOWN" number: 0 } value { name: "INFER" number: 1 } }
  enum_type { name: "Reach" value { name: "REACH_UNKNOWN" number: 0 } }
  message_type {
    name: "OperationType"
    field { name: "role" number: 1 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".modelops.Role" }
    field { name: "nats" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "nats_name" number: 3 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "empty" number: 4 label: LABEL_OPTIONAL type: TYPE_BOOL }
    field { name: "reach" number: 5 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".modelops.Reach" }
    field { name: "about" number: 6 label: LABEL_REPEATED type: TYPE_STRING }
  }
  enum_type { name: "Visibility" value { name: "VISIBILITY_UNKNOWN" number: 0 } }
  message_type {
    name: "CommandType"
    field { name: "visibility" number: 1 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".modelops.Visibility" }
    field { name: "holder" number: 2 label: LABEL_OPTIONAL type: TYPE_BOOL }
    field { name: "first" number: 3 label: LABEL_OPTIONAL type: TYPE_BOOL }
    field { name: "program" number: 4 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "own" number: 5 label: LABEL_OPTIONAL type: TYPE_BOOL }
  }
  extension { name: "command" number: 50503 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".modelops.CommandType" extendee: ".google.protobuf.MessageOptions" }
  extension { name: "operation" number: 50504 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".modelops.OperationType" extendee: ".google.protobuf.MethodOptions" }
}
proto_file {
  name: "bell.proto" package: "modelops" syntax: "proto3" options { go_package: "x/y" } dependency: "options.proto"
  message_type {
    name: "Bell"
    field { name: "ringer" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "strokes" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
  }
  service { name: "ModelOps" method { name: "Ring" input_type: ".modelops.Bell" output_type: ".modelops.Bell" } }
}`

// generateRinging runs the plugin with these bytes as the rpc's (operation) and the message's (command); nil = it has none.
func generateRinging(t *testing.T, operation, command []byte) error {
	t.Helper()
	request := &pluginpb.CodeGeneratorRequest{}
	if err := prototext.Unmarshal([]byte(ringing), request); err != nil {
		t.Fatal(err)
	}
	bell := request.ProtoFile[2]
	bell.MessageType[0].Options, bell.Service[0].Method[0].Options = &descriptorpb.MessageOptions{}, &descriptorpb.MethodOptions{}
	set := func(options proto.Message, number protowire.Number, value []byte) {
		if value != nil {
			options.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value))
		}
	}
	set(bell.MessageType[0].Options, 50503, command)
	set(bell.Service[0].Method[0].Options, 50504, operation)
	p, err := protogen.Options{}.New(request)
	if err != nil {
		t.Fatal(err)
	}
	return generate(p)
}

func varint(field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), v)
}

func chars(field protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), v)
}

// An rpc without a role would be open to everyone or to nobody by mistake, so no table is made of it.
func TestEveryOperationNamesARole(t *testing.T) {
	subject := chars(2, "bells.ring")
	if err := generateRinging(t, append(varint(1, 1), subject...), nil); err != nil {
		t.Error(err)
	}
	for _, operation := range [][]byte{nil, {}, subject} {
		if err := generateRinging(t, operation, nil); err == nil || !strings.Contains(err.Error(), "modelops.ModelOps.Ring") {
			t.Errorf("%q: %v", operation, err)
		}
	}
}

// The field that may name only a program is one that can hold a name: the check of a command reads it without looking.
func TestAProgramIsNamedInAField(t *testing.T) {
	for field, good := range map[string]bool{"": true, "ringer": true, "strokes": false, "holder": false} {
		err := generateRinging(t, varint(1, 1), chars(4, field))
		if good != (err == nil) || !good && !strings.Contains(err.Error(), "modelops.Bell ") {
			t.Errorf("%q: %v", field, err)
		}
	}
}
