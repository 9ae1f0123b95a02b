package natsapi

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"modelops/messages"
)

// A caller that leaves, by ending its subscription or its connection, ends its request wherever it waits; one that is away for a moment doesn't.
func TestACallerThatLeavesEndsItsRequest(t *testing.T) {
	for name, c := range map[string]struct {
		reads func(look int) bool
		ends  bool
	}{
		"left":            {func(int) bool { return false }, true},
		"reads":           {func(int) bool { return true }, false},
		"away at moments": {func(look int) bool { return look%4 == 0 }, false},
	} {
		entered, left, looked := make(chan string, 1), make(chan error, 1), make(chan int, 1)
		look := 0
		a, nc := open(t, Options{Gateway: &gateway{infer: waits(entered, left)}, Reads: func(messages.Principal, string) bool {
			look++
			select {
			case looked <- look:
			default:
			}
			return c.reads(look)
		}})
		a.look = time.Millisecond
		m := &nats.Msg{Subject: root + ".infer.tiny", Reply: nc.NewRespInbox(), Data: []byte(`{"prompt":"x"}`), Header: nats.Header{RequestIDHeader: {name}}}
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		<-entered
		if c.ends {
			if err := <-left; err != context.Canceled { // hangs when nobody notices
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for n := 0; n < 40; {
			select {
			case n = <-looked:
			case err := <-left:
				t.Fatalf("%s: it was ended after %d looks: %v", name, n, err)
			}
		}
		if err := nc.Publish(root+".cancel."+Token(name), nil); err != nil {
			t.Fatal(err)
		}
		<-left
	}
}
