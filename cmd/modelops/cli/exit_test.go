package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"modelops/bridges/config"
	"modelops/messages"
)

// The exit code of an error is a promise to scripts: it never changes.
func TestExitsOfCodes(t *testing.T) {
	exits := map[int]string{
		1:   "INTERNAL MODEL_LOAD_ERROR MODEL_UNLOAD_ERROR INFERENCE_ERROR JOB_FAILED",
		2:   "INVALID_ARGUMENT PAYLOAD_TOO_LARGE CONTEXT_TOO_LONG UNSUPPORTED",
		3:   "UNAVAILABLE JOURNAL_UNAVAILABLE",
		4:   "MODEL_NOT_FOUND NOT_FOUND",
		5:   "GPU_UNAVAILABLE CIRCUIT_BREAKER_OPEN BULKHEAD_REJECTION CONFLICT JOURNAL_FULL FAILED_PRECONDITION PERMISSION_DENIED UNAUTHENTICATED",
		6:   "DEADLINE_EXCEEDED",
		7:   "JOURNAL_DAMAGED",
		130: "CANCELLED",
	}
	for _, code := range messages.Codes() {
		if !slices.Contains(strings.Fields(exits[exitOf[code]]), code.String()) {
			t.Errorf("%s ends with %d", code, exitOf[code])
		}
	}
}

func TestFinish(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		exit int
		says string
	}{
		"well":  {nil, 0, ""},
		"quiet": {quietExit(1), 1, ""},
		"typed": {typed(messages.NewError(messages.ModelNotFound, "model/x", "there is none").WithHint("look")), 4, "modelops: model/x: there is none\nhint: look\n"},
		"with its log": {&messages.Error{Code: messages.ModelLoadError, Subject: "model/x", Message: "it ended", Log: []string{"a", "b"}}, 1,
			"modelops: model/x: it ended\nlast lines of its log:\n  a\n  b\n"},
		"to try again": {messages.NewError(messages.BulkheadRejection, "model/x", "full").WithRetry(2 * time.Second), 5, "modelops: model/x: full\ntry again in 2s\n"},
		"untyped":      {typed(errors.New("disk on fire")), 1, "modelops: disk on fire\n"},
		"deadline":     {typed(context.DeadlineExceeded), 6, "modelops: the deadline passed before there was an answer\n"},
		"by cobra":     {errors.New("unknown flag: --x"), 2, "modelops: unknown flag: --x\nhint: usage: ps [flags]; more with ps --help\n"},
		"of Ollama":    {errors.New(`unknown command "pull" for "modelops"`), 2, "modelops: unknown command \"pull\" for \"modelops\"\nhint: " + othersCommands["pull"] + "\n"},
		"of a file":    {typed(config.Problems{{Where: "f:1:2", What: "wrong"}}), 2, "modelops: configuration: it has mistakes\nf:1:2: wrong\n"},
	} {
		var out bytes.Buffer
		cmd := &cobra.Command{Use: "ps", Run: func(*cobra.Command, []string) {}}
		cmd.Flags().Bool("x", false, "")
		exit := (&cli{stderr: &out}).finish(cmd, c.err)
		if exit != c.exit || out.String() != c.says {
			t.Errorf("%s: %d %q", name, exit, out.String())
		}
	}
}

func TestErrorsAsJSON(t *testing.T) {
	var out bytes.Buffer
	(&cli{stderr: &out, asJSON: true}).finish(&cobra.Command{}, messages.NewError(messages.BulkheadRejection, "model/x", "full"))
	var body map[string]any
	if err := json.Unmarshal(out.Bytes(), &body); err != nil || body["code"] != "BULKHEAD_REJECTION" || body["subject"] != "model/x" {
		t.Errorf("%s", out.String())
	}
}

// Each exit code that the help topic explains is returned by a command line, without progress, which a busy machine would show. Damaged
// journals are in stopped_test.go, a stopped training run is in train_test.go.
func TestExitCodes(t *testing.T) {
	fake := &fakeDaemon{health: &messages.HealthReply{}, infer: func(ctx context.Context, _ *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT) // the interrupt of a user who no longer waits
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	c, out, errs := openDoor(t, fake)
	returned := map[int]bool{exitDamaged: true, exitStopped: true}
	for _, tc := range []struct {
		exit int
		err  error
		line string
	}{
		{exitOK, nil, "load tiny"},
		{exitNo, nil, "health"},
		{exitNo, messages.NewError(messages.ModelLoadError, "model/pc/m", "no such file"), "load m"},
		{exitUsage, nil, "load"},
		{exitUsage, nil, "load m --bogus"},
		{exitUsage, messages.NewError(messages.ContextTooLong, "prompt", "4097 tokens"), "load m"},
		{exitUnreachable, nil, "ps --server nats://127.0.0.1:1"},
		{exitUnreachable, messages.NewError(messages.JournalUnavailable, "journal", "it restarts"), "load m"},
		{exitNotFound, messages.NewError(messages.ModelNotFound, "m", "there is none"), "load m"},
		{exitRefused, messages.NewError(messages.GPUUnavailable, "model/pc/m", "it needs 9 GiB"), "load m"},
		{exitDeadline, messages.NewError(messages.DeadlineExceeded, "model/pc/m", "10s are over"), "load m"},
		{exitInterrupted, nil, "infer m hello"},
		{exitInterrupted, nil, "infer m hello --stream"},
	} {
		fake.err = tc.err
		out.Reset()
		errs.Reset()
		returned[tc.exit] = true
		if got := c.run(append(strings.Fields(tc.line), "--quiet")...); got != tc.exit {
			t.Errorf("%s (%v): %d, want %d\n%s%s", tc.line, tc.err, got, tc.exit, out, errs)
		}
		if quiet := errs.Len() == 0; quiet != (tc.exit == exitOK || tc.exit == exitInterrupted || tc.line == "health") {
			t.Errorf("%s: it says %q", tc.line, errs)
		}
	}
	for line := range strings.Lines(exitCodes) {
		number, _, _ := strings.Cut(line, " ")
		if n, err := strconv.Atoi(number); err != nil || !returned[n] {
			t.Errorf("no command line returns %q", line)
		} else {
			delete(returned, n)
		}
	}
	if len(returned) > 0 {
		t.Errorf("the help topic doesn't explain %v", returned)
	}
}
