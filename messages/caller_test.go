package messages

import (
	"testing"
	"time"
)

func TestParseKeepAlive(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0s", "300": "5m0s", "1.5": "1.5s", `"5m"`: "5m0s", "5m": "5m0s", `"1h30m"`: "1h30m0s", `"0s"`: "0s", " 7 ": "7s", "null": "nil", "1e2": "1m40s",
		"-1": "forever", "-3600": "forever", `"-1m"`: "forever", "-1e300": "forever",
		`"300"`: "5m0s", `"-1"`: "forever", `"0"`: "0s", `"1d"`: "24h0m0s", `"-1d"`: "forever", `"0.5d"`: "12h0m0s", `""`: "nil", "": "nil", "1e9": "forever", `"9000h"`: "forever", `"1e9d"`: "forever", "true": "wrong", "{}": "wrong", "[5]": "wrong", `"soon"`: "wrong", "NaN": "wrong", "Inf": "wrong", `"d"`: "wrong", `"NaNd"`: "wrong",
	} {
		d, err := ParseKeepAlive(text)
		got := "nil"
		switch {
		case err != nil && CodeOf(err) == InvalidArgument && AsError(err).Hint != "":
			got = "wrong"
		case err != nil:
			got = err.Error()
		case d != nil && *d < 0:
			got = "forever"
		case d != nil:
			got = d.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestKeyIn(t *testing.T) {
	for _, c := range []struct{ authorization, apiKey, want string }{
		{"", "", ""}, {"Bearer k", "", "k"}, {"bearer  k ", "x", "k"}, {"", "x", "x"}, {"k", "", "k"}, {"Basic k", "x", "Basic k"}, {"Bearer", "", "Bearer"},
	} {
		if got := KeyIn(c.authorization, c.apiKey); got != c.want {
			t.Errorf("%q %q: %q", c.authorization, c.apiKey, got)
		}
	}
}

// TestArrivalKeepsTheFirstPlace: what an answer says of its wait is where the request stood when it came.
func TestArrivalKeepsTheFirstPlace(t *testing.T) {
	var a Arrival
	r := &InferenceResponse{}
	a.Note(r)
	a.Note(nil)
	if r.QueuePosition != 0 {
		t.Error(r)
	}
	a.Told(QueuePlace{Position: 3, Expected: 1500 * time.Millisecond})
	a.Told(QueuePlace{Position: 1})
	a.Note(r)
	if r.QueuePosition != 3 || r.QueueExpectedMs != 1500 {
		t.Error(r)
	}
}
