package cli

import (
	"regexp"
	"slices"
	"testing"

	"modelops/messages"
)

// send --help lists exactly the commands that the table of messages calls public.
func TestSendListsThePublicCommands(t *testing.T) {
	var want []string
	for _, kind := range append([]messages.KindInfo{{}}, messages.Kinds()...) {
		for _, command := range messages.Commands(kind.Name) {
			if command.Kind == kind.Name && command.Visibility == messages.Visibility_PUBLIC {
				want = append(want, command.Name)
			}
		}
	}
	var got []string
	for _, found := range regexp.MustCompile(`(?m)^    (\w+) \{`).FindAllStringSubmatch(commandList(), -1) {
		got = append(got, found[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("it lists\n%v\nnot\n%v", got, want)
	}
}
