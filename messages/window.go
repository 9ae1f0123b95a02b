package messages

import (
	"strings"
	"time"
)

// Window is the time in which something may run: "22:00-06:00" on each day, or a schedule and for how long: "0 22 * * 5 56h". Both may end with a time
// zone; without one the host's counts.
//
// A window between two times goes by the clock on the wall: the night in which the clock leaps is an hour shorter. One of a schedule lasts as long as it
// says.
type Window struct {
	from, to time.Duration // since midnight on the wall's clock
	zone     *time.Location
	schedule Schedule
	lasts    time.Duration // 0 = it is between two times
}

// longestOpening bounds what a window of a schedule may say: beyond that it isn't needed.
const longestOpening = 28 * 24 * time.Hour

// ParseWindow reads a window. InvalidArgument: it can't be read, is empty, or never opens.
func ParseWindow(text string) (Window, error) {
	fields := strings.Fields(text)
	bad := func(why string) (Window, error) {
		return Window{}, Errorf(InvalidArgument, "window", "%q %s", text, why).
			WithHint(`write "22:00-06:00", or the five fields of cron and a duration: "0 22 * * 5 56h"; a time zone may follow`)
	}
	if len(fields) == 1 || len(fields) == 2 {
		return between(fields, bad)
	}
	if len(fields) != 6 && len(fields) != 7 {
		return bad("is no window")
	}
	lasts, err := time.ParseDuration(fields[5])
	if err != nil || lasts < time.Minute || lasts > longestOpening {
		return bad("says how long it is open with " + fields[5] + ", which is no duration from 1m to 672h")
	}
	schedule, err := ParseSchedule(strings.Join(append(fields[:5:5], fields[6:]...), " "))
	return Window{schedule: schedule, lasts: lasts}, err
}

func between(fields []string, bad func(string) (Window, error)) (Window, error) {
	from, to, ok := strings.Cut(fields[0], "-")
	begin, err := clockTime(from)
	end, err2 := clockTime(to)
	if !ok || err != nil || err2 != nil {
		return bad("isn't between two times of a day")
	}
	if begin == end {
		return bad("begins when it ends, so it is never open")
	}
	w := Window{from: begin, to: end}
	if len(fields) == 2 {
		if w.zone, err = zoneNamed(fields[1]); err != nil {
			return Window{}, err
		}
	}
	return w, nil
}

// clockTime reads 22:00; 24:00 is the end of a day.
func clockTime(s string) (time.Duration, error) {
	if s == "24:00" {
		return 24 * time.Hour, nil
	}
	t, err := time.Parse("15:04", s)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err
}

// Open tells whether it is open at a time.
func (w Window) Open(at time.Time) bool {
	if w.lasts > 0 {
		begun, ok := w.schedule.Next(at.Add(-w.lasts))
		return ok && !begun.After(at)
	}
	shown := sinceMidnight(w.at(at))
	if w.from < w.to {
		return w.from <= shown && shown < w.to
	}
	return shown >= w.from || shown < w.to
}

// Changes is when it opens next, if it is closed at a time, or closes next. ok is false when that is never: a schedule can be due again before the
// window has closed.
func (w Window) Changes(at time.Time) (next time.Time, ok bool) {
	if w.lasts > 0 {
		return w.scheduleChanges(at)
	}
	at = w.at(at)
	open := w.Open(at)
	for changes := 0; changes < 400; changes++ { // of days or of the clock
		_, end := at.ZoneBounds()
		shown := sinceMidnight(at)
		step := 24*time.Hour - shown
		for _, edge := range []time.Duration{w.from, w.to} {
			if edge > shown {
				step = min(step, edge-shown)
			}
		}
		at = at.Add(step)
		if !end.IsZero() && end.Before(at) {
			at = end
		}
		if w.Open(at) != open {
			return at, true
		}
	}
	return time.Time{}, false
}

func (w Window) scheduleChanges(at time.Time) (time.Time, bool) {
	if !w.Open(at) {
		return w.schedule.Next(at)
	}
	begun, ok := w.schedule.Next(at.Add(-w.lasts))
	for openings := 0; ok && openings < 1000; openings++ {
		next, again := w.schedule.Next(begun)
		if !again || next.After(begun.Add(w.lasts)) {
			return begun.Add(w.lasts), true
		}
		begun = next
	}
	return time.Time{}, false
}

func (w Window) at(t time.Time) time.Time {
	if w.zone != nil {
		return t.In(w.zone)
	}
	return t
}

func sinceMidnight(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
}

// ClosedWindow says that a window is closed at a time, and when it opens; empty = it is open, or there is none.
func ClosedWindow(text string, at time.Time) string {
	if text == "" {
		return ""
	}
	w, err := ParseWindow(text)
	if err != nil { // it was taken where another table of zones is
		return "its window " + text + " can't be read: " + AsError(err).Message
	}
	switch next, ok := w.Changes(at); {
	case w.Open(at):
		return ""
	case ok:
		return "its window " + text + " opens in " + next.Sub(at).Round(time.Second).String()
	}
	return "its window " + text + " never opens again"
}
