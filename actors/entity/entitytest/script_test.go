package entitytest

import (
	"strings"
	"testing"
	"time"
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

// A script that can't be read is no script that passes.
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
