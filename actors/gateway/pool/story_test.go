package pool

import (
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
		s.Update(v, s.now)
		return s.dispatched(), nil
	}
	var c struct {
		Ticket, Attempt uint64
		Class           int
		Failed, Left    bool
		Host, Name      string
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		return nil, err
	}
	switch name {
	case "Admit":
		position, err := s.Admit(Request{c.Ticket, c.Class, s.now})
		switch {
		case err != nil:
			return []string{entitytest.Refusal(err)}, nil
		case position == 0:
			return []string{"granted"}, nil
		}
		return []string{"queued"}, nil
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

func (s *stage) dispatched() []string {
	out := []string{}
	d := s.Dispatch(s.now)
	for _, t := range d.Granted {
		out = append(out, fmt.Sprint("granted ", t))
	}
	if d.Refusal != nil {
		out = append(out, "refuses who waits")
	}
	return out
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
		Breaker  string
		Failures int
		IdleMS   int64
	}{s.Ready(), at.closed, running, s.tickets(), at.breaker.state(s.now), at.breaker.failures, s.Idle(s.now).Milliseconds()})
}

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../../testdata/gateway", func() entitytest.Stage { return &stage{newPool(2, 2), entitytest.Epoch} })
}
