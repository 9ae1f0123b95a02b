package job

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// A running attempt leaves when its window closes, or when a request comes and it runs only while nothing else does; else it goes on.
func TestPermits(t *testing.T) {
	night := time.Date(2026, 1, 1, 23, 0, 0, 0, time.UTC)
	p := &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/g"}}}
	stop := func(reason string) *messages.StopJob {
		return &messages.StopJob{Attempt: 3, Cause: messages.StopCause_stop_window, Reason: reason}
	}
	for name, c := range map[string]struct {
		e    permit
		now  time.Time
		busy string
		want *messages.StopJob
	}{
		"open":                        {permit{3, "22:00-06:00 UTC", false, p}, night, "chat has 2 requests", nil},
		"closed":                      {permit{3, "22:00-06:00 UTC", false, p}, night.Add(8 * time.Hour), "", stop("it leaves: its window 22:00-06:00 UTC opens in 15h0m0s")},
		"a schedule that is over":     {permit{3, "0 22 * * 5 56h UTC", false, p}, night, "", stop("it leaves: its window 0 22 * * 5 56h UTC opens in 23h0m0s")},
		"nothing else runs":           {permit{3, "", true, p}, night, "", nil},
		"a request is at its device":  {permit{3, "", true, p}, night, "chat has 2 requests", stop("it runs only while nothing else does, and chat has 2 requests")},
		"a zone that isn't known now": {permit{3, "22:00-06:00 Mars/Olympus", false, p}, night, "", nil},
	} {
		k := Kind(Rules{}, World{Now: func() time.Time { return c.now }, Busy: func(on *messages.Placement) string {
			if on != p {
				t.Errorf("%s: asked of %v", name, on)
			}
			return c.busy
		}})
		got, err := k.Perform(t.Context(), c.e)
		if name == "a zone that isn't known now" {
			if s, ok := got.(*messages.StopJob); !ok || s.Cause != messages.StopCause_stop_window {
				t.Errorf("%s: %v", name, got)
			}
			continue
		}
		if err != nil || (got == nil) != (c.want == nil) || got != nil && !proto.Equal(got, c.want) {
			t.Errorf("%s: %v %v, want %v", name, got, err, c.want)
		}
	}
}

// Only jobs with a window, or which run while nothing else does, look; and a window that can't be read is refused when the job is submitted.
func TestWhoLooksForAPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			spec  *messages.JobSpec
			looks bool
		}{"none": {&messages.JobSpec{}, false}, "a window": {&messages.JobSpec{Window: "22:00-06:00"}, true}, "idle only": {&messages.JobSpec{IdleOnly: true}, true}} {
			s := State{Spec: c.spec, Phase: Running, Attempt: 1}
			looks := false
			for _, e := range Owed(s) {
				looks = looks || e.Key() == "permit/1"
			}
			if looks != c.looks {
				t.Errorf("%s: looks %t", name, looks)
			}
		}
		err := check(messages.ActorID{Kind: "job", ID: "h/x"}, &messages.JobSpec{Kind: messages.JobSpec_custom, Recipe: &messages.Recipe{Command: []string{"x"}}, Window: "at night"})
		if messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("a window that can't be read: %v", err)
		}
	})
}
