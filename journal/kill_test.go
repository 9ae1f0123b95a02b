package journal

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// killEvents is how many events each decision of the child holds: a half decision would show.
const killEvents = 3

// appendUntilKilled is the child: three actors append, each decision's id is printed once it was acknowledged.
func appendUntilKilled(dir string) {
	j, err := Open(context.Background(), Options{Dir: dir, Host: testHost, BootID: fmt.Sprint(os.Getpid()), Port: -1, MinFree: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println("ERR", err)
		os.Exit(1)
	}
	out := make(chan string)
	for a := range 3 {
		go func() {
			head, err := j.Last(context.Background(), modelName(a))
			for n := 0; err == nil; n++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), a, n)
				events := make([]proto.Message, killEvents)
				for i := range events {
					events[i] = &messages.ModelUnwanted{Reason: id + strings.Repeat(".", 200)}
				}
				if head, err = j.Append(context.Background(), Append{Actor: modelName(a), Expected: head, Events: events, Meta: messages.Meta{ID: id}}); err == nil {
					out <- "ACK " + id
				}
			}
			out <- "ERR " + err.Error()
		}()
	}
	fmt.Println("OPEN")
	for line := range out {
		fmt.Println(line)
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	acked := map[string]bool{}
	for n := range rounds {
		runAndKill(t, dir, acked, []string{"OPEN", "ACK"}[n%2])
	}
	o := testOptions(t, dir)
	j := mustOpen(t, o)
	found := map[string]bool{}
	for _, r := range readAll(t, j, Query{}) {
		if len(r.Events) != killEvents {
			t.Errorf("sequence %d is half a decision: %d events", r.Sequence, len(r.Events))
		}
		if found[r.ID] {
			t.Errorf("%s is there twice", r.ID)
		}
		found[r.ID] = true
	}
	for id := range acked {
		if !found[id] {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	t.Logf("%d kills, %d acknowledged, %d found", rounds, len(acked), len(found))
	if len(acked) < rounds/2 {
		t.Errorf("only %d appends were acknowledged, the test shows nothing", len(acked))
	}
}

// runAndKill kills the child some time after it said a word for the first time: OPEN, or ACK, after which at least one decision
// is acknowledged.
func runAndKill(t *testing.T, dir string, acked map[string]bool, after string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if word == after {
			after = ""
			time.AfterFunc(time.Duration(rand.IntN(120_000))*time.Microsecond+5*time.Millisecond, func() { cmd.Process.Kill() })
		}
		switch word {
		case "OPEN":
		case "ACK":
			acked[rest] = true
		default:
			t.Errorf("the child says %q", lines.Text())
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
}
