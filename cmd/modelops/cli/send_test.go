//go:build languagepending

package cli

import (
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// answers are the messages of commands.proto that aren't commands, beside replies and views.
var answers = []string{"Done", "VramGrant", "ConfigChanges", "QueuedRequest", "DefragPlan", "SwapList"}

// Whoever adds a command says whose it is: every message of commands.proto is a kind's command, an answer or a view.
func TestEveryCommandIsListed(t *testing.T) {
	listed := map[string]bool{}
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
		if !listed[name] && !isAnswer(name) {
			t.Errorf("%s stands in no kind of commandsOf; list it there, or among the answers of this test", name)
		}
	}
	for name := range listed {
		if !known[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

func isAnswer(name string) bool {
	return slices.Contains(answers, name) || strings.HasSuffix(name, "Reply") || strings.HasSuffix(name, "View")
}
