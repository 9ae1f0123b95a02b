package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/spf13/cobra"

	"modelops/bridges/config"
	"modelops/messages"
)

// Every error code has an exit code.
func TestEveryCodeHasAnExit(t *testing.T) {
	for _, code := range messages.Codes() {
		if exitOf[code] == exitOK {
			t.Errorf("%s has no exit code", code)
		}
	}
}

func TestFinish(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		exit int
		says string
	}{
		"well":      {nil, 0, ""},
		"quiet":     {quietExit(1), 1, ""},
		"typed":     {typed(messages.NewError(messages.ModelNotFound, "model/x", "there is none").WithHint("look")), 4, "modelops: model/x: there is none\nhint: look\n"},
		"untyped":   {typed(errors.New("disk on fire")), 1, "modelops: disk on fire\n"},
		"deadline":  {typed(context.DeadlineExceeded), 6, "modelops: the deadline passed before there was an answer\n"},
		"by cobra":  {errors.New("unknown flag: --x"), 2, "modelops: unknown flag: --x\nhint: usage: ps [flags]; more with ps --help\n"},
		"of a file": {typed(config.Problems{{Where: "f:1:2", What: "wrong"}}), 2, "modelops: configuration: it has mistakes\nf:1:2: wrong\n"},
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
