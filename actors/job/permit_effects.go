package job

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// permit looks whether a running attempt may go on: its window is open, and, if it runs only while nothing else does, no request is at its devices.
type permit struct {
	Attempt   uint64
	Window    string
	IdleOnly  bool
	Placement *messages.Placement
}

func (e permit) Key() string { return fmt.Sprintf("permit/%d", e.Attempt) }

// Pace implements entity.Paced. A request is to be seen at once; that a window closes, within a quarter of a minute, also when the wall clock is set.
func (e permit) Pace() (first, longest time.Duration) {
	if e.IdleOnly {
		return 200 * time.Millisecond, 200 * time.Millisecond
	}
	return 15 * time.Second, 15 * time.Second
}

// permit has the attempt leave with a checkpoint; it waits for memory again afterwards. Nothing to tell = it may go on.
func (h ports) permit(_ context.Context, e permit) (proto.Message, error) {
	if why := messages.ClosedWindow(e.Window, h.time()); why != "" {
		return &messages.StopJob{Attempt: e.Attempt, Cause: messages.StopCause_stop_window, Reason: "it leaves: " + why}, nil
	}
	if e.IdleOnly && h.busy != nil {
		if why := h.busy(e.Placement); why != "" {
			return &messages.StopJob{Attempt: e.Attempt, Cause: messages.StopCause_stop_window, Reason: "it runs only while nothing else does, and " + why}, nil
		}
	}
	return nil, nil
}

func (h ports) time() time.Time {
	if h.now == nil {
		return time.Now()
	}
	return h.now()
}
