package model

import (
	"testing"
	"time"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/model", func() entitytest.Stage { return fresh() })
}

var rules = Rules{Retry: Retry{Limit: 3, First: time.Second, Longest: time.Minute},
	CanSleep: func(spec *messages.ModelSpec) bool { return spec.Runtime != "openai" }}

func fresh() *entitytest.Bench[State] {
	return entitytest.Drive(Kind(rules, World{}), messages.ModelActor("main_pc", "tiny"))
}
