package entitytest

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// echo is a stage that answers with what it was told.
type echo struct{ waited time.Duration }

func (e *echo) Given(string, string) error { return nil }
func (e *echo) When(name, body string) ([]string, error) {
	return []string{name + " " + body}, nil
}
func (e *echo) Wait(d time.Duration) { e.waited += d }
func (e *echo) Show() []string       { return []string{"waited " + e.waited.String()} }

func TestTranscript(t *testing.T) {
	const script = "# why\n\ngiven x {}\nwait 2m\nwhen Do {\"a\":1}\nthen\n  old words\n\nagain\n"
	const want = "# why\n\ngiven x {}\nwait 2m\nwhen Do {\"a\":1}\nthen\n  Do {\"a\":1}\n  waited 2m1s\n\nagain\nthen\n  Do {\"a\":1}\n  waited 2m2s\n"
	got, err := Transcript(script, &echo{})
	if err != nil || got != want {
		t.Fatalf("%v\n%s", err, firstDifference(want, got))
	}
	if again, err := Transcript(got, &echo{}); err != nil || again != got {
		t.Errorf("a transcript isn't its own transcript: %v\n%s", err, firstDifference(got, again))
	}
}

// seer is a stage that records the readings of each command.
type seer struct {
	echo
	readings string
}

func (s *seer) Seeing(name, body string) error { s.readings = name + " " + body; return nil }
func (s *seer) When(name, body string) ([]string, error) {
	return []string{name + " " + body + " seeing " + s.readings}, nil
}

// Readings stay until they are replaced.
func TestSeeing(t *testing.T) {
	const script = "seeing A {}\nwhen Do {}\nthen\n  Do {} seeing A {}\n  waited 1s\nagain\nseeing B {}\nwhen Do {}\nthen\n  Do {} seeing B {}\n  waited 3s\n"
	const want = "seeing A {}\nwhen Do {}\nthen\n  Do {} seeing A {}\n  waited 1s\nagain\nthen\n  Do {} seeing A {}\n  waited 2s\n" +
		"seeing B {}\nwhen Do {}\nthen\n  Do {} seeing B {}\n  waited 3s\n"
	if got, err := Transcript(script, &seer{}); err != nil || got != want {
		t.Errorf("%v\n%s", err, firstDifference(want, got))
	}
	if _, err := Transcript(script, &echo{}); err == nil {
		t.Error("a stage that observes nothing took readings")
	}
}

// A bench passes them on to the kind.
func TestABenchSees(t *testing.T) {
	var seen proto.Message
	b := Drive(entity.Kind[int]{
		New:    func(messages.ActorID) int { return 0 },
		Evolve: func(s int, _ proto.Message, _ uint64) int { return s },
		Decide: func(_ int, _ proto.Message, at entity.Stamp) (entity.Verdict, error) {
			seen = at.Readings
			return entity.Verdict{}, nil
		},
		Owed: func(int) []entity.Effect { return nil },
		View: func(int) proto.Message { return &messages.ModelView{} },
	}, messages.ArbiterActor())
	for _, c := range []struct{ body, want string }{{`{"id":"gpu/a"}`, "gpu/a"}, {`{"id":"gpu/b"}`, "gpu/b"}} {
		if err := b.Seeing("GpuView", c.body); err != nil {
			t.Fatal(err)
		}
		if _, err := b.When("EnsureModel", "{}"); err != nil {
			t.Fatal(err)
		}
		if v, ok := seen.(*messages.GpuView); !ok || v.Id != c.want {
			t.Errorf("Decide saw %v, want %s", seen, c.want)
		}
	}
	if err := b.Seeing("NoSuchMessage", "{}"); err == nil {
		t.Error("readings of an unknown name were taken")
	}
}

// A line that can't be read fails the test.
func TestUnreadableScripts(t *testing.T) {
	for script, want := range map[string]string{
		"":                           "1: the script has no when",
		"given x {}":                 "1: the script has no when",
		"whne Do {}":                 `1: whne Do {}: "whne" is no word`,
		"then":                       "1: then without a when before it",
		"again":                      "1: again: again repeats the command",
		"when Do {}\nagain and more": "2: again and more: again repeats",
		"when Do {}\n\n  event x":    "3:   event x: ",
		"wait soon":                  "1: wait soon: time: invalid duration",
	} {
		if _, err := Transcript(script, &echo{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", script, err, want)
		}
	}
}
