package journal

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// tracedChild is set where system calls can be traced.
var tracedChild func(dir string)

func TestMain(m *testing.M) {
	if dir := os.Getenv("JOURNAL_TEST_CHILD"); dir != "" {
		appendUntilKilled(dir)
	}
	if dir := os.Getenv("JOURNAL_TEST_TRACED"); dir != "" {
		tracedChild(dir)
		os.Exit(0)
	}
	// The NATS server leaves this one behind when it is shut down while it makes a stream, as happens on a busy machine.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"))
}

const testHost = "main_pc"

func testOptions(t testing.TB, dir string) Options {
	return Options{Dir: dir, Host: testHost, BootID: "boot-1", Port: -1, MinFree: 1, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	if os.Getenv("JOURNAL_TEST_LOG") != "" {
		fmt.Print(string(b))
	}
	return len(b), nil
}

func mustOpen(t testing.TB, o Options) *Journal {
	t.Helper()
	j, err := Open(context.Background(), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func testOpen(t testing.TB) *Journal { return mustOpen(t, testOptions(t, t.TempDir())) }

func mustClose(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func modelName(n int) messages.ActorID {
	return messages.ActorID{Kind: messages.KindModel, ID: fmt.Sprintf("%s/qwen2.5:%d", testHost, n)}
}

func wanted(reason string) []proto.Message {
	return []proto.Message{&messages.ModelUnwanted{Reason: reason}}
}

func mustAppend(t testing.TB, j *Journal, a messages.ActorID, expected uint64, events ...proto.Message) uint64 {
	t.Helper()
	seq, err := j.Append(context.Background(), Append{Actor: a, Expected: expected, Events: events, At: time.Unix(1700000000, 0)})
	if err != nil {
		t.Fatalf("Append(%s, %d): %v", a, expected, err)
	}
	return seq
}

// fill appends n decisions of a few actors in turn.
func fill(t testing.TB, j *Journal, n int) {
	t.Helper()
	heads := map[int]uint64{}
	for i := range n {
		heads[i%5] = mustAppend(t, j, modelName(i%5), heads[i%5], wanted(fmt.Sprintf("reason %06d", i))...)
	}
}

func readAll(t testing.TB, j *Journal, q Query) []messages.Recorded {
	t.Helper()
	var out []messages.Recorded
	err := j.Replay(context.Background(), q, func(r messages.Recorded) error { out = append(out, r); return nil })
	if err != nil {
		t.Fatalf("Replay(%+v): %v", q, err)
	}
	return out
}

func sequences(rs []messages.Recorded) []uint64 {
	out := []uint64{}
	for _, r := range rs {
		out = append(out, r.Sequence)
	}
	return out
}

func wantCode(t testing.TB, err error, code messages.Code) *messages.Error {
	t.Helper()
	if messages.CodeOf(err) != code {
		t.Fatalf("error is %v (%v), want %v", err, messages.CodeOf(err), code)
	}
	return messages.AsError(err)
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
