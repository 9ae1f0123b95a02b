package messages

import (
	"strings"
	"time"
	_ "time/tzdata" // a host without zone files knows the zones too

	"github.com/netresearch/go-cron"
)

// Schedule is when something begins, again and again: the five fields of cron on the clock of a time zone.
//
// A summer time doesn't lose or repeat a time: one that the clock leaps over is due at the leap, and one that the clock shows twice is due the first
// time. A schedule whose hour begins with "*" goes by the time that passes instead: the leap adds nothing, and the repeated hour counts twice. That is
// what cron of ISC does. The library is asked in UTC only: of version 0.9.1, a leap that isn't at two o'clock or isn't of an hour loses a time, and a
// time that the clock shows twice is due twice.
type Schedule struct {
	cron   cron.Schedule
	hourly bool
	zone   *time.Location // nil = that of the time that it is asked about
}

var fiveFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// ParseSchedule reads "MINUTE HOUR DAY MONTH WEEKDAY" with an optional time zone after it: "0 3 * * 1-5 Europe/Berlin". Without one the host's counts.
// InvalidArgument: it can't be read, or is never due.
func ParseSchedule(text string) (Schedule, error) {
	fields := strings.Fields(text)
	if len(fields) != 5 && len(fields) != 6 {
		return Schedule{}, Errorf(InvalidArgument, "schedule", "%q has %d fields, not five", text, len(fields)).
			WithHint("write MINUTE HOUR DAY MONTH WEEKDAY and, if it isn't the host's, a time zone: 0 3 * * 1-5 Europe/Berlin")
	}
	s := Schedule{hourly: strings.HasPrefix(fields[1], "*")}
	var err error
	if len(fields) == 6 {
		if s.zone, err = zoneNamed(fields[5]); err != nil {
			return Schedule{}, err
		}
	}
	if s.cron, err = fiveFields.Parse(strings.Join(fields[:5], " ")); err != nil {
		return Schedule{}, Errorf(InvalidArgument, "schedule", "%q can't be read: %w", text, err).
			WithHint("the fields are MINUTE 0-59, HOUR 0-23, DAY 1-31, MONTH 1-12, WEEKDAY 0-6 from Sunday; each may be *, a list, a range or a step")
	}
	if s.cron.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, Errorf(InvalidArgument, "schedule", "%q is never due: no month has that day", text)
	}
	return s, nil
}

func zoneNamed(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, Errorf(InvalidArgument, "time zone", "%q isn't known", name).WithHint("zones have names such as Europe/Berlin or UTC")
	}
	return zone, nil
}

// Next is when it is due first after a time. ok is false when that is never.
func (s Schedule) Next(after time.Time) (due time.Time, ok bool) {
	if s.zone != nil {
		after = after.In(s.zone)
	}
	from := wall(after)
	for changes := 0; changes < 100; changes++ { // of the clock; most zones have two in a year, and a schedule is due within some years
		begin, end := after.ZoneBounds()
		if again := repeatedUntil(begin).Add(-time.Nanosecond); !s.hourly && from.Before(again) {
			from = again
		}
		next := s.cron.Next(from)
		if next.IsZero() {
			return time.Time{}, false
		}
		due := after.Add(next.Sub(wall(after)))
		if end.IsZero() || due.Before(end) {
			return due, true
		}
		leapt := wall(end.Add(-time.Nanosecond))
		if skipped := s.cron.Next(leapt); !s.hourly && skipped.Before(wall(end)) {
			return end, true
		}
		after, from = end, wall(end).Add(-time.Nanosecond)
	}
	return time.Time{}, false
}

// wall is what a clock on the wall shows, as if it were that of UTC.
func wall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// repeatedUntil is what the clock shows when it has shown each time but once again, after it was set back at a time; what it shows then if it wasn't.
func repeatedUntil(begin time.Time) time.Time {
	if begin.IsZero() {
		return time.Time{}
	}
	if before := wall(begin.Add(-time.Nanosecond)).Add(time.Nanosecond); before.After(wall(begin)) {
		return before
	}
	return time.Time{}
}
