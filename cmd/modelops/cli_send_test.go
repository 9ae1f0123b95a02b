package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/messages"
)

// Whoever adds a command says whose it is: every message of commands.proto is a kind's command, an answer or a view.
func TestEveryCommandIsListed(t *testing.T) {
	listed := map[string]bool{"Done": true}
	for _, names := range commandsOf {
		for _, name := range names {
			if listed[name] {
				t.Errorf("%s stands twice", name)
			}
			listed[name] = true
		}
	}
	all := messages.File_commands_proto.Messages()
	known := map[string]bool{}
	for i := range all.Len() {
		name := string(all.Get(i).Name())
		known[name] = true
		if !listed[name] && !answers(all.Get(i)) {
			t.Errorf("%s is no kind's command in commandsOf", name)
		}
	}
	for name := range listed {
		if !known[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

func answers(m protoreflect.MessageDescriptor) bool {
	name := string(m.Name())
	return strings.HasSuffix(name, "Reply") || strings.HasSuffix(name, "View") && !strings.HasPrefix(name, "Query") || strings.HasSuffix(name, "Grant")
}
