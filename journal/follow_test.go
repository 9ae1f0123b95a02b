package journal

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"modelops/messages"
)

// watch follows j from after and sends each sequence until the test ends.
func watch(t *testing.T, j *Reader, after uint64) <-chan messages.Recorded {
	t.Helper()
	out := make(chan messages.Recorded, 10_000)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		err := j.Follow(ctx, after, func(r messages.Recorded) error { out <- r; return nil })
		if messages.CodeOf(err) != messages.Cancelled && !j.nc.IsClosed() { // by a test that closes the journal
			t.Errorf("Follow ended with %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return out
}

func TestFollowKeepsOrderUnderConcurrentAppends(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 20)
	early, late := watch(t, j.Reader, 0), watch(t, j.Reader, 15)
	var writers sync.WaitGroup
	const each = 30
	for w := range 4 {
		writers.Go(func() {
			head := uint64(0)
			for range each {
				head = mustAppend(t, j, modelName(100+w), head, wanted("live")...)
			}
		})
	}
	writers.Wait()
	for _, c := range []struct {
		from uint64
		in   <-chan messages.Recorded
	}{{1, early}, {16, late}} {
		for want := c.from; want <= 20+4*each; want++ {
			if r := <-c.in; r.Sequence != want || len(r.Events) != 1 {
				t.Fatalf("got sequence %d with %d events, want %d", r.Sequence, len(r.Events), want)
			}
		}
	}
}

func TestFollowEndsWithTheCallersError(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 3)
	stop := errors.New("stop")
	if err := j.Follow(t.Context(), 1, func(r messages.Recorded) error { return stop }); err != stop {
		t.Errorf("got %v", err)
	}
}

// A restart in place ends no connection and no follow, and loses nothing.
func TestConnectionsSurviveARestartInPlace(t *testing.T) {
	o := testOptions(t, t.TempDir())
	o.Port = 0
	j := mustOpen(t, o)
	fill(t, j, 10)
	url := j.ClientURL()
	in := watch(t, j.Reader, 0)
	nc, err := j.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("hello")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.restart(); err != nil {
		t.Fatal(err)
	}
	if j.ClientURL() != url {
		t.Errorf("the address changed from %s to %s", url, j.ClientURL())
	}
	mustAppend(t, j, modelName(9), 0, wanted("after")...)
	for want := uint64(1); want <= 11; want++ {
		if r := <-in; r.Sequence != want {
			t.Fatalf("got %d, want %d", r.Sequence, want)
		}
	}
	await(t, func() bool { return nc.IsConnected() && nc.Flush() == nil })
	if err := nc.Publish("hello", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsgWithContext(t.Context()); err != nil {
		t.Errorf("the subscription was lost: %v", err)
	}
	if err := j.Health(); err != nil {
		t.Errorf("Health: %v", err)
	}
}

func TestFollowRefusesAShorterJournal(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 3)
	err := j.Follow(t.Context(), 4, func(messages.Recorded) error { return nil })
	wantCode(t, err, messages.FailedPrecondition)
}

func TestATakenPortIsSaidAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := testOptions(t, t.TempDir())
	o.Port = l.Addr().(*net.TCPAddr).Port
	_, err = Open(t.Context(), o)
	if e := wantCode(t, err, messages.JournalUnavailable); !strings.Contains(e.Error(), l.Addr().String()) {
		t.Errorf("%v", e)
	}
	o.Port = 0
	mustClose(t, mustOpen(t, o))
}
