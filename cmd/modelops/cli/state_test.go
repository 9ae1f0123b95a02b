package cli

import (
	"context"
	"slices"
	"testing"
	"time"

	"modelops/journal"
	"modelops/messages"
)

func TestMoments(t *testing.T) {
	zone := time.FixedZone("here", 2*60*60)
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, zone)
	for text, want := range map[string]moment{
		"":                          {},
		"42":                        {sequence: 42},
		"10m":                       {time: now.Add(-10 * time.Minute)},
		"1h30m ago":                 {time: now.Add(-90 * time.Minute)},
		"2026-01-30T10:00:00Z":      {time: time.Date(2026, 1, 30, 12, 0, 0, 0, zone)},
		"2026-01-30T10:00:00.5Z":    {time: time.Date(2026, 1, 30, 12, 0, 0, 500e6, zone)},
		"2026-01-30T10:00:00":       {time: time.Date(2026, 1, 30, 10, 0, 0, 0, zone)},
		"2026-01-30 10:00:00":       {time: time.Date(2026, 1, 30, 10, 0, 0, 0, zone)},
		"2026-01-30 10:00":          {time: time.Date(2026, 1, 30, 10, 0, 0, 0, zone)},
		"2026-01-30T10:00:00+02:00": {time: time.Date(2026, 1, 30, 10, 0, 0, 0, zone)},
	} {
		got, err := parseMoment(text, now)
		if err != nil || got.sequence != want.sequence || !got.time.Equal(want.time) {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "-5", "-10m", "yesterday", "2026-13-01", "1.5"} {
		if got, err := parseMoment(text, now); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

// decided is a journal that has decisions of some actors.
type decided []messages.ActorID

func (d decided) Replay(_ context.Context, q journal.Query, fn func(messages.Recorded) error) error {
	if slices.Contains(d, q.Actor) {
		return fn(messages.Recorded{})
	}
	return nil
}
func (d decided) Follow(context.Context, uint64, func(messages.Recorded) error) error { return nil }

func TestShortNames(t *testing.T) {
	src := &source{host: "pc", journal: decided{messages.ModelActor("old", "tiny")}} // the host had another name
	for text, want := range map[string]string{
		"host": "host/pc", "host/other": "host/other", "arbiter": "arbiter", "gpu/cpu": "gpu/pc/cpu", "gpu/pc/cpu": "gpu/pc/cpu",
		"model/tiny": "model/pc/tiny", "model/pc/org/m:7b": "model/pc/org/m:7b", "model/org/m:7b": "model/pc/org/m:7b", "model/old/tiny": "model/old/tiny",
	} {
		if got, err := src.actor(t.Context(), text); err != nil || got.String() != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "model", "model/", "nonsense/x"} {
		if got, err := src.actor(t.Context(), text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// What follows the kind is a host when a copy of that host's journal is read too.
func TestNamesOfOtherHosts(t *testing.T) {
	src, copies := &source{host: "pc", journal: decided{}}, []*source{{host: "pc2", copy: true}}
	for text, want := range map[string]string{"gpu/pc2/cpu": "gpu/pc2/cpu", "model/pc2/org/m:7b": "model/pc2/org/m:7b", "model/org/m:7b": "model/pc/org/m:7b", "gpu/cpu": "gpu/pc/cpu"} {
		if got, err := src.actor(t.Context(), text, copies...); err != nil || got.String() != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func TestModelsAreFoundByNameBeforeAlias(t *testing.T) {
	s := &messages.StatusView{Models: []*messages.ModelView{
		{Name: "a", Spec: &messages.ModelSpec{Aliases: []string{"b", "small"}}}, {Name: "b"},
	}}
	for name, want := range map[string]string{"a": "a", "b": "b", "small": "a", "other": ""} {
		if got := modelIn(s, name).GetName(); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
