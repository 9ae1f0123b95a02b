package goal

import (
	"testing"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

var answers = messages.ActorID{Kind: messages.KindGoal, ID: "main_pc/answers"}

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/goal", func() entitytest.Stage { return fresh() })
}

func fresh() *entitytest.Bench[State] { return entitytest.Drive(Kind(World{}), answers) }
