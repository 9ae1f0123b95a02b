package arbiter

import (
	"testing"
	"time"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/arbiter", func() entitytest.Stage { return fresh() })
}

// The stories of an arbiter as the daemon has it.
func TestCarefulStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/arbiter/careful", func() entitytest.Stage {
		return entitytest.Drive(Kind(Rules{Collation: 100 * time.Millisecond, KeepWarm: 10 * time.Minute}, nil, nil), messages.ArbiterActor())
	})
}

func fresh() *entitytest.Bench[State] {
	return entitytest.Drive(Kind(Rules{Policy: "first_fit"}, nil, nil), messages.ArbiterActor())
}

// The stories of jobs that share the devices with models.
func TestLearningStories(t *testing.T) {
	rules := Rules{Learning: Learning{MaxJobs: 2, Goals: map[string]Quota{"a": {Devices: 1}, "b": {Devices: 1}}, Keys: map[string]Quota{"sha256:ann": {Hours: 2, Per: 7 * 24 * time.Hour}}}}
	entitytest.Play(t, "../../testdata/arbiter/learning", func() entitytest.Stage {
		return entitytest.Drive(Kind(rules, nil, nil), messages.ArbiterActor())
	})
}
