package model

import (
	"testing"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/model", func() entitytest.Stage { return fresh() })
}

var rules = Rules{Retry: Retry{Limit: 3},
	CanSleep: func(spec *messages.ModelSpec) bool { return spec.Runtime != "openai" }}

func fresh() *entitytest.Bench[State] {
	return entitytest.Drive(Kind(rules, World{}), messages.ModelActor("main_pc", "tiny"))
}

// A model that is loaded by its file has no configuration that checks its name.
func TestBadNameIsRefused(t *testing.T) {
	for _, name := range []string{"a b", "a\nb", "x/"} {
		s := State{ID: messages.ModelActor("main_pc", name)}
		if _, err := declare(s, &messages.DeclareModel{Spec: &messages.ModelSpec{Name: name}}, nil); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%q: %v", name, err)
		}
	}
}
