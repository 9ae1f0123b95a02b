package engine

import (
	"net/http"
	"time"
)

// writePatience is how long a client may refuse to read before its stream is given up, so that it can't keep a slot.
const writePatience = 30 * time.Second

// eventStream writes server-sent events. Nothing goes out before the first event, so an early failure can still be an
// ordinary error answer.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	started bool
}

func newEventStream(w http.ResponseWriter) *eventStream {
	return &eventStream{w: w, control: http.NewResponseController(w)}
}

// send writes one event and flushes it. Its error means that the client is gone.
func (s *eventStream) send(v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	return s.raw(b)
}

func (s *eventStream) raw(data []byte) error {
	if !s.started {
		s.started = true
		s.w.Header().Set("Content-Type", "text/event-stream")
		s.w.Header().Set("Cache-Control", "no-cache")
		s.w.WriteHeader(http.StatusOK)
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(writePatience)) // not every writer has deadlines
	event := make([]byte, 0, len(data)+8)
	event = append(append(append(event, "data: "...), data...), "\n\n"...)
	if _, err := s.w.Write(event); err != nil {
		return err
	}
	return s.control.Flush()
}

// finish ends the stream. After the first event an error can only be told inside it; before that it is returned, for an
// ordinary answer. done tells whether the protocol ends with "[DONE]".
func (s *eventStream) finish(err error, done bool) error {
	defer func() { _ = s.control.SetWriteDeadline(time.Time{}) }() // the connection lives on
	if err != nil && !s.started {
		return err
	}
	if err != nil {
		_ = s.send(asAPIError(err).body())
		return nil
	}
	if done {
		_ = s.raw([]byte("[DONE]"))
	}
	return nil
}
