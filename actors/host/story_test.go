package host

import (
	"testing"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/host", func() entitytest.Stage { return fresh() })
}

func fresh() *entitytest.Bench[State] {
	return entitytest.Drive(Kind(World{}), messages.HostActor("main_pc"))
}
