package gpu

import (
	"testing"
	"time"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/gpu", func() entitytest.Stage { return fresh() })
}

func fresh() *entitytest.Bench[State] {
	return entitytest.Drive(Kind(nil, time.Now), messages.GPUActor("main_pc", "gpu0"))
}
