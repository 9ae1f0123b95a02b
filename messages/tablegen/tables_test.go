package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// ringing is a service of one rpc, and what it needs of options.proto.
const ringing = `
file_to_generate: "bell.proto"
proto_file {
  name: "google/protobuf/descriptor.proto" package: "google.protobuf" options { go_package: "x/y" }
  message_type { name: "MethodOptions" extension_range { start: 1000 end: 536870912 } }
}
proto_file {
  name: "options.proto" package: "modelops" syntax: "proto3" options { go_package: "x/y" } dependency: "google/protobuf/descriptor.proto"
  enum_type { name: "Role" value { name: "ROLE_UNKNOWN" number: 0 } value { name: "INFER" number: 1 } }
  message_type {
    name: "OperationType"
    field { name: "role" number: 1 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".modelops.Role" }
    field { name: "nats" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "nats_name" number: 3 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "empty" number: 4 label: LABEL_OPTIONAL type: TYPE_BOOL }
  }
  extension { name: "operation" number: 50504 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".modelops.OperationType" extendee: ".google.protobuf.MethodOptions" }
}
proto_file {
  name: "bell.proto" package: "modelops" syntax: "proto3" options { go_package: "x/y" } dependency: "options.proto"
  message_type { name: "Bell" }
  service { name: "Bells" method { name: "Ring" input_type: ".modelops.Bell" output_type: ".modelops.Bell" } }
}`

// generateRinging runs the plugin with these bytes as the rpc's (operation); nil = it has none.
func generateRinging(t *testing.T, operation []byte) error {
	t.Helper()
	request := &pluginpb.CodeGeneratorRequest{}
	if err := prototext.Unmarshal([]byte(ringing), request); err != nil {
		t.Fatal(err)
	}
	if operation != nil {
		options := &descriptorpb.MethodOptions{}
		options.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 50504, protowire.BytesType), operation))
		request.ProtoFile[2].Service[0].Method[0].Options = options
	}
	p, err := protogen.Options{}.New(request)
	if err != nil {
		t.Fatal(err)
	}
	return generate(p)
}

// An rpc without a role would be open to everyone or to nobody by mistake, so no table is made of it.
func TestEveryOperationNamesARole(t *testing.T) {
	role := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	subject := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "bells.ring")
	if err := generateRinging(t, append(role, subject...)); err != nil {
		t.Error(err)
	}
	for _, operation := range [][]byte{nil, {}, subject} {
		if err := generateRinging(t, operation); err == nil || !strings.Contains(err.Error(), "modelops.Bells.Ring") {
			t.Errorf("%q: %v", operation, err)
		}
	}
}
