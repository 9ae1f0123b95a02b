package pool

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// stage plays scripts on a pool: Admit, Leave, Finish, Close and ModelView are its commands. A name without a host is of main_pc.
type stage struct {
	*Pool
	now time.Time
}

func (s *stage) Given(name, body string) error { _, err := s.When(name, body); return err }
func (s *stage) Wait(d time.Duration)          { s.now = s.now.Add(d) }

func (s *stage) When(name, body string) (out []string, err error) {
	if name == "ModelView" {
		v := &messages.ModelView{}
		if err := protojson.Unmarshal([]byte(body), v); err != nil {
			return nil, err
		}
		v.Name = cmp.Or(v.Name, s.name)
		v.Host = cmp.Or(v.Host, "main_pc")
		v.Id = messages.ModelActor(v.Host, v.Name).String()
		if refusal := s.Update(v, s.now); refusal != nil {
			out = s.refuse(s.RefuseAll(s.now), refusal)
		}
		return append(out, s.dispatched()...), nil
	}
	var c struct {
		Ticket, Attempt uint64
		Class           int
		Failed, Left    bool
		Host, Name      string
		Answer          string
		Code, Message   string
		Retry           int64 // ms
		PatienceMS      int64
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		return nil, err
	}
	switch name {
	case "Admit":
		position, err := s.Admit(Request{Ticket: c.Ticket, Class: c.Class, Since: s.now, Patience: time.Duration(c.PatienceMS) * time.Millisecond})
		switch {
		case err != nil:
			return []string{entitytest.Refusal(err)}, nil
		case position == 0:
			return []string{"granted"}, nil
		}
		return append([]string{"queued"}, s.intents()...), nil
	case "Want":
		s.Want(Request{Ticket: c.Ticket, Since: s.now, Patience: time.Duration(c.PatienceMS) * time.Millisecond})
		return s.dispatched(), nil
	case "Unwant":
		return []string{fmt.Sprint("left ", s.Unwant(c.Ticket, s.now))}, nil
	case "Answer":
		var err error
		if c.Code != "" {
			err = (&messages.ErrorBody{Code: c.Code, Message: c.Message, RetryAfterMs: c.Retry}).Err()
		}
		refused, why := s.Answered(map[string]PlaceAnswer{"placed": Placed, "waits": Waits}[c.Answer], err, s.now)
		out = s.refuse(refused, why)
		if pause, ok := s.SeekAfter(s.now); ok {
			out = append(out, fmt.Sprint("pauses ", pause))
		}
		return append(out, s.intents()...), nil
	case "Sweep":
		for _, h := range s.Sweep(s.now, false) {
			body, err := protojson.Marshal(h.Command)
			if err != nil {
				return nil, err
			}
			out = append(out, fmt.Sprintf("hint %s %s %s", h.To, h.Command.ProtoReflect().Descriptor().Name(), compact(body)))
		}
		return append(out, s.intents()...), nil
	case "Leave":
		return []string{fmt.Sprint("left ", s.Leave(c.Ticket, s.now))}, nil
	case "Close":
		s.Close(messages.ModelActor(cmp.Or(c.Host, "main_pc"), cmp.Or(c.Name, s.name)), c.Attempt, s.now)
		return []string{}, nil
	case "Finish":
		o := messages.Outcome{Failed: c.Failed}
		if c.Left {
			o.Err = context.Canceled
		}
		if _, changed := s.Finish(c.Ticket, o, s.now); changed {
			out = append(out, "breaker changed")
		}
		return append(out, s.dispatched()...), nil
	}
	return nil, fmt.Errorf("a pool knows no %s", name)
}

func (s *stage) wanted() (out []uint64) {
	for _, w := range s.wants {
		out = append(out, w.Ticket)
	}
	return out
}

func (s *stage) dispatched() []string {
	out := []string{}
	d := s.Dispatch(s.now)
	for _, t := range d.Granted {
		out = append(out, fmt.Sprint("granted ", t))
	}
	for _, t := range d.Met {
		out = append(out, fmt.Sprint("met ", t))
	}
	if d.Refusal != nil {
		out = append(out, "refuses every waiting request")
	}
	return append(out, s.intents()...)
}

func (s *stage) intents() (out []string) {
	for _, i := range s.Intents(s.now) {
		switch i := i.(type) {
		case Seek:
			out = append(out, fmt.Sprintf("seeks %s after %s", i.Name, i.Waited))
		case Wake:
			out = append(out, fmt.Sprintf("wakes %s", i.Actor))
		}
	}
	return out
}

func (s *stage) refuse(tickets []uint64, why error) []string {
	if why == nil {
		return []string{}
	}
	return []string{fmt.Sprintf("refuses %v: %v", tickets, why)}
}

// compact is JSON without the blanks that protojson varies.
func compact(body []byte) string {
	var out bytes.Buffer
	if err := json.Compact(&out, body); err != nil {
		panic(err) // protojson wrote it
	}
	return out.String()
}

func (s *stage) Show() []string {
	at := s.endpoints[0]
	running := map[uint64]uint64{}
	for ticket, r := range s.running {
		running[ticket] = r.attempt
	}
	return entitytest.Fields(struct {
		Ready    bool
		Closed   uint64
		Running  map[uint64]uint64
		Waiting  []uint64
		Wants    []uint64
		Breaker  string
		Failures int
		IdleMS   int64
	}{s.Ready(), at.closed, running, s.tickets(), s.wanted(), at.breaker.state(s.now).String(), at.breaker.failures, s.Idle(s.now).Milliseconds()})
}

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../../testdata/gateway", func() entitytest.Stage { return &stage{newPool(2, 2), entitytest.Epoch} })
}
