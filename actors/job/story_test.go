package job

import (
	"testing"
	"time"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/job", func() entitytest.Stage { return fresh() })
}

var (
	rules = Rules{First: time.Second, Longest: time.Minute}
	tune  = messages.ActorID{Kind: messages.KindJob, ID: "main_pc/tune"}
)

func fresh() *entitytest.Bench[State] { return entitytest.Drive(Kind(rules, World{}), tune) }
