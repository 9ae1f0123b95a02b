package arbiter

import (
	"testing"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/arbiter", func() entitytest.Stage { return fresh() })
}

func fresh() *entitytest.Machine[State] {
	return entitytest.Drive(Kind(Rules{Policy: "first_fit"}, nil, nil), messages.ArbiterActor())
}
