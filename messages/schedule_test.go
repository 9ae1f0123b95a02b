package messages

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func in(t *testing.T, zone, at string) time.Time {
	t.Helper()
	l, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	out, err := time.ParseInLocation("2006-01-02 15:04", at, l)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestScheduleOnTheDaysOfTheClock(t *testing.T) {
	for name, c := range map[string]struct{ text, zone, from, want string }{
		"a time that is leapt over is due at the leap": {"30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "03-29T03:00+02 03-30T02:30+02"},
		"two of them are due once":                     {"10,40 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "03-29T03:00+02 03-30T02:10+02"},
		"a time after the leap is due":                 {"0 3 * * *", "Europe/Berlin", "2026-03-28 12:00", "03-29T03:00+02 03-30T03:00+02"},
		"a time that is shown twice is due once":       {"30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", "10-25T02:30+02 10-26T02:30+01"},
		"the end of the repeated hour":                 {"0 3 * * *", "Europe/Berlin", "2026-10-24 12:00", "10-25T03:00+01 10-26T03:00+01"},
		"an interval goes by the time that passes":     {"*/30 * * * *", "Europe/Berlin", "2026-10-25 01:40", "10-25T02:00+02 10-25T02:30+02 10-25T02:00+01 10-25T02:30+01 10-25T03:00+01"},
		"and its leap adds nothing":                    {"*/40 * * * *", "Europe/Berlin", "2026-03-29 01:30", "03-29T01:40+01 03-29T03:00+02 03-29T03:40+02"},
		"a leap of half an hour":                       {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", "10-04T02:30+11 10-05T02:15+11"},
		"half an hour twice":                           {"45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", "04-05T01:45+11 04-06T01:45+1030"},
		"a leap at midnight":                           {"15 0 * * 5", "Africa/Cairo", "2026-04-22 12:00", "04-24T01:00+03 05-01T00:15+03"},
		"a day that a zone left out":                   {"0 12 30 12 *", "Pacific/Apia", "2011-12-28 12:00", "12-31T00:00+14 12-30T12:00+14"},
		"weekdays":                                     {"0 22 * * 1-5", "UTC", "2026-11-27 23:00", "11-30T22:00Z 12-01T22:00Z"},
		"a zone of its own":                            {"0 3 * * * America/New_York", "UTC", "2026-07-01 00:00", "07-01T03:00-04 07-02T03:00-04"},
		"the last day of February":                     {"0 12 29 2 *", "UTC", "2026-03-01 00:00", "02-29T12:00Z"},
		"a time is due after it, not at it":            {"0 12 * * *", "UTC", "2026-03-01 12:00", "03-02T12:00Z"},
	} {
		s, err := ParseSchedule(c.text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for at := in(t, c.zone, c.from); len(got) < len(strings.Fields(c.want)); {
			next, ok := s.Next(at)
			if !ok || !next.After(at) {
				t.Fatalf("%s: after %s comes %s, %t", name, at, next, ok)
			}
			at = next
			got = append(got, at.Format("01-02T15:04Z07"))
			if at.Format("Z07:00") != at.Format("Z07")+":00" && at.Format("Z07") != "Z" {
				got[len(got)-1] = at.Format("01-02T15:04Z0700")
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s is due at %v, want %s", name, c.text, got, c.want)
		}
	}
}

func TestBadSchedulesAndWindows(t *testing.T) {
	for text, want := range map[string]string{
		"": "has 0 fields", "0 3 * *": "has 4 fields", "60 3 * * *": "can't be read", "0 3 * * 1-5 Nowhere/City": `"Nowhere/City" isn't known`,
		"0 12 31 2 *": "is never due", "@daily": "has 1 fields", "0 3 * * * Local": "isn't known", "0 -3 * * *": "can't be read", "* * * * * * *": "has 7 fields",
	} {
		if _, err := ParseSchedule(text); CodeOf(err) != InvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("schedule %q: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"": "is no window", "22:00": "isn't between", "22:00-22:00": "never open", "22:00-25:00": "isn't between", "22:00-06:00 Nowhere": "isn't known",
		"0 22 * * 5 forever": "no duration", "0 22 * * 5 -1h": "no duration", "0 22 * * 5 30s": "no duration", "0 22 * * 5 1000h": "no duration", "0 22 * *": "is no window", "0 12 31 2 * 1h": "is never due",
	} {
		if _, err := ParseWindow(text); CodeOf(err) != InvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("window %q: %v", text, err)
		}
	}
}

var changing = []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago", "Asia/Kathmandu"}

// near is a minute about a change of a zone's clock, or any other.
func near(t *rapid.T) time.Time {
	zone, err := time.LoadLocation(rapid.SampledFrom(changing).Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, zone).Add(time.Duration(rapid.IntRange(0, 500).Draw(t, "days")) * 24 * time.Hour)
	if _, end := at.ZoneBounds(); end.Year() == at.Year() && rapid.Bool().Draw(t, "at a change") {
		at = end
	}
	return at.Add(time.Duration(rapid.IntRange(-30*60, 30*60).Draw(t, "minutes")) * time.Minute)
}

// A schedule against a look at each minute: due is each one that its fields match, the first of two alike, and a leap that left some out.
func TestScheduleAgainstEachMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minutes := rapid.SliceOfNDistinct(rapid.SampledFrom([]int{0, 1, 15, 29, 30, 59}), 1, 3, rapid.ID).Draw(t, "minutes")
		hours := rapid.SliceOfNDistinct(rapid.IntRange(0, 23), 1, 4, rapid.ID).Draw(t, "hours")
		if rapid.Bool().Draw(t, "in the night") {
			hours = []int{0, 1, 2, 3}[:rapid.IntRange(1, 4).Draw(t, "hours of it")]
		}
		hourly := rapid.IntRange(0, 3).Draw(t, "each hour") == 0
		field := strings.Join(texts(hours), ",")
		if hourly {
			field = "*"
		}
		s, err := ParseSchedule(strings.Join(texts(minutes), ",") + " " + field + " * * *")
		if err != nil {
			t.Fatal(err)
		}
		matches := func(m time.Time) bool {
			return slices.Contains(minutes, m.Minute()) && (hourly || slices.Contains(hours, m.Hour()))
		}
		at := near(t)
		for range 4 {
			got, ok := s.Next(at)
			if !ok {
				t.Fatalf("never due after %s", at)
			}
			want := at.Truncate(time.Minute)
			for {
				want = want.Add(time.Minute)
				if isDue(want, hourly, matches) {
					break
				}
			}
			if !got.Equal(want) {
				t.Fatalf("minutes %v hours %v, each %t: after %s comes %s, not %s", minutes, hours, hourly, at, got, want)
			}
			at = got
		}
	})
}

func isDue(m time.Time, hourly bool, matches func(time.Time) bool) bool {
	_, now := m.Zone()
	_, before := m.Add(-time.Minute).Zone()
	if hourly {
		return matches(m)
	}
	for skipped := now - before; skipped > 0; skipped -= 60 { // the minutes that the clock left out, by a clock that goes on
		if matches(m.UTC().Add(time.Duration(now-skipped) * time.Second)) {
			return true
		}
	}
	for _, back := range []time.Duration{30 * time.Minute, time.Hour} {
		earlier := m.Add(-back)
		if _, offset := earlier.Zone(); time.Duration(offset-now)*time.Second == back {
			return false // it was shown then
		}
	}
	return matches(m)
}

func texts(ns []int) (out []string) {
	for _, n := range ns {
		out = append(out, strconv.Itoa(n))
	}
	return out
}

// A window against a look at each minute.
func TestWindowAgainstEachMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := func(name string) int { return rapid.IntRange(0, 95).Draw(t, name) * 15 }
		from, to := clock("from"), clock("to")
		if rapid.Bool().Draw(t, "about the change") {
			from, to = from%240, to%240
		}
		if from == to {
			t.Skip()
		}
		write := func(m int) string { return time.Time{}.Add(time.Duration(m) * time.Minute).Format("15:04") }
		w, err := ParseWindow(write(from) + "-" + write(to))
		if err != nil {
			t.Fatal(err)
		}
		open := func(m time.Time) bool {
			shown := m.Hour()*60 + m.Minute()
			if from < to {
				return from <= shown && shown < to
			}
			return shown >= from || shown < to
		}
		at := near(t)
		for range 4 {
			if w.Open(at) != open(at) {
				t.Fatalf("%s-%s at %s: open %t", write(from), write(to), at, w.Open(at))
			}
			got, ok := w.Changes(at)
			want := at.Add(time.Minute)
			for open(want) == open(at) {
				want = want.Add(time.Minute)
			}
			if !ok || !got.Equal(want) {
				t.Fatalf("%s-%s changes after %s at %s, not %s", write(from), write(to), at, got, want)
			}
			at = got
		}
	})
}

func TestWindowsOfASchedule(t *testing.T) {
	for name, c := range map[string]struct {
		text, zone, at string
		open           bool
		changes        string
	}{
		"a weekend, in it":        {"0 22 * * 5 56h", "UTC", "2026-11-29 12:00", true, "11-30 06:00"},
		"a weekend, before it":    {"0 22 * * 5 56h", "UTC", "2026-11-27 12:00", false, "11-27 22:00"},
		"at its end":              {"0 22 * * 5 56h", "UTC", "2026-11-30 06:00", false, "12-04 22:00"},
		"at its begin":            {"0 22 * * 5 56h", "UTC", "2026-11-27 22:00", true, "11-30 06:00"},
		"it begins again in time": {"0 22 * * * 30h", "UTC", "2026-11-27 22:00", true, ""},
		"it lasts what it says":   {"0 22 * * * 8h", "Europe/Berlin", "2026-03-28 23:00", true, "03-29 07:00"},
		"a night of the clock":    {"22:00-06:00", "Europe/Berlin", "2026-03-28 23:00", true, "03-29 06:00"},
		"a zone of its own":       {"22:00-06:00 Asia/Kathmandu", "UTC", "2026-01-01 00:00", true, "01-01 06:00"},
		"until midnight":          {"18:00-24:00", "UTC", "2026-01-01 19:00", true, "01-02 00:00"},
		"the whole day":           {"00:00-24:00", "UTC", "2026-01-01 19:00", true, ""},
	} {
		w, err := ParseWindow(c.text)
		if err != nil {
			t.Fatal(err)
		}
		at := in(t, c.zone, c.at)
		next, ok := w.Changes(at)
		if w.Open(at) != c.open || ok != (c.changes != "") || ok && next.Format("01-02 15:04") != c.changes {
			t.Errorf("%s: open %t, changes %s, %t", name, w.Open(at), next, ok)
		}
	}
}
