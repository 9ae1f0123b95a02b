// Command tablegen is a protoc plugin: it turns the options of options.proto into the tables of package messages (tables.gen.go): kinds,
// events with their names and versions, the commands of each kind, and the operations of the service.
//
// It reads options by reflection and doesn't import package messages, so that it runs while that package doesn't compile.
package main

import (
	"fmt"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() { protogen.Options{}.Run(generate) }

func generate(p *protogen.Plugin) error {
	p.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)
	files, err := protodesc.NewFiles(descriptorSet(p))
	if err != nil {
		return err
	}
	t := &tables{options: reader{dynamicpb.NewTypes(files)}}
	for _, f := range p.Files {
		if f.Generate {
			if err := t.read(f); err != nil {
				return fmt.Errorf("%s: %w", f.Desc.Path(), err)
			}
		}
	}
	if len(t.kinds) == 0 {
		return nil // buf asks for other folders too
	}
	t.write(p.NewGeneratedFile("tables.gen.go", "modelops/messages"))
	return nil
}

// reader reads options whose Go types this program doesn't have.
type reader struct{ types *dynamicpb.Types }

// option is one of our options as a message; nil when it isn't set.
func (r reader) option(options protoreflect.ProtoMessage, name protoreflect.FullName) (protoreflect.Message, error) {
	b, err := proto.Marshal(options)
	if err != nil {
		return nil, err
	}
	m := options.ProtoReflect().New().Interface()
	if err := (proto.UnmarshalOptions{Resolver: r.types}).Unmarshal(b, m); err != nil {
		return nil, err
	}
	var found protoreflect.Message
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.FullName() == name {
			found = v.Message()
		}
		return true
	})
	return found, nil
}

// text, number, flag and word read a field of an option.
func text(m protoreflect.Message, field protoreflect.Name) string {
	return m.Get(m.Descriptor().Fields().ByName(field)).String()
}

func number(m protoreflect.Message, field protoreflect.Name) uint64 {
	return m.Get(m.Descriptor().Fields().ByName(field)).Uint()
}

func flag(m protoreflect.Message, field protoreflect.Name) bool {
	return m.Get(m.Descriptor().Fields().ByName(field)).Bool()
}

// texts reads a list.
func texts(m protoreflect.Message, field protoreflect.Name) (out []string) {
	list := m.Get(m.Descriptor().Fields().ByName(field)).List()
	for i := range list.Len() {
		out = append(out, list.Get(i).String())
	}
	return out
}

// word is the name of an enum's value.
func word(m protoreflect.Message, field protoreflect.Name) string {
	f := m.Descriptor().Fields().ByName(field)
	return string(f.Enum().Values().ByNumber(m.Get(f).Enum()).Name())
}
