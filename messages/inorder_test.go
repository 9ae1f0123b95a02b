package messages

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestACauseComesBeforeItsEffectWhateverTheClocksSay(t *testing.T) {
	at := func(id string, second int64, cause string) Recorded {
		return Recorded{ID: id, At: time.Unix(second, 0), Meta: Meta{ID: id, Causation: cause}}
	}
	// The clock of the first host is ten seconds behind: its answers seem to come before what they answer.
	lists := [][]Recorded{{at("a1", 1, ""), at("a2", 5, "b2"), at("a3", 6, "request")}, {at("b1", 11, "a1"), at("b2", 12, "b1"), at("b3", 16, "a3")}}
	got := ""
	_ = InOrder(lists, func(_ int, r Recorded) error { got += r.ID + " "; return nil })
	if got != "a1 b1 b2 a2 a3 b3 " {
		t.Error(got)
	}
}

func TestPropertyMergedJournalsKeepTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lists := make([][]Recorded, 3)
		var ids []string
		skew := rapid.SliceOfN(rapid.Int64Range(-60, 60), 3, 3).Draw(t, "skew")
		for i := range rapid.IntRange(0, 60).Draw(t, "decisions") {
			r := Recorded{ID: fmt.Sprint(i)}
			if len(ids) > 0 && rapid.Bool().Draw(t, "caused") {
				r.Meta.Causation = rapid.SampledFrom(ids).Draw(t, "cause")
			}
			n := rapid.IntRange(0, 2).Draw(t, "host")
			r.Sequence, r.At = uint64(len(lists[n])+1), time.Unix(int64(i)+skew[n], 0)
			lists[n], ids = append(lists[n], r), append(ids, r.ID)
		}
		passed, last := map[string]bool{}, make([]uint64, 3)
		err := InOrder(lists, func(n int, r Recorded) error {
			if r.Meta.Causation != "" && !passed[r.Meta.Causation] || r.Sequence != last[n]+1 {
				return fmt.Errorf("host %d: %+v after %d", n, r, last[n])
			}
			passed[r.ID], last[n] = true, r.Sequence
			return nil
		})
		if err != nil || len(passed) != len(ids) {
			t.Fatal(err, len(passed))
		}
	})
}
