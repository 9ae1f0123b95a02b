package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"modelops/bridges/config"
	"modelops/messages"
)

// Exit codes. Scripts rely on them: the meaning of a number never changes.
const (
	exitOK          = 0
	exitNo          = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitNotFound    = 4
	exitRefused     = 5
	exitDeadline    = 6
	exitDamaged     = 7
	exitStopped     = 75
	exitInterrupted = 130
)

const exitCodes = `0    success, or the answer is yes
1    failure, or the answer is no: the daemon is unhealthy, states differ, a load or an inference failed
2    wrong usage, wrong configuration, or a request that can never be answered
3    no daemon can be reached, or it can't answer now
4    there is no such model, actor or file
5    refused: not enough memory, queue full, circuit breaker open, in use by another process
6    the deadline passed before there was an answer
7    the journal is damaged
75   a training run was stopped before its last step and can be resumed
130  interrupted
`

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodes}
}

// exitOf is the exit code for each kind of failure.
var exitOf = map[messages.Code]int{
	messages.Internal: exitNo, messages.ModelLoadError: exitNo, messages.ModelUnloadError: exitNo, messages.InferenceError: exitNo, messages.JobError: exitNo,
	messages.InvalidArgument: exitUsage, messages.PayloadTooLarge: exitUsage, messages.ContextTooLong: exitUsage, messages.Unsupported: exitUsage,
	messages.Unavailable: exitUnreachable, messages.JournalUnavailable: exitUnreachable,
	messages.ModelNotFound: exitNotFound, messages.NotFound: exitNotFound,
	messages.GPUUnavailable: exitRefused, messages.CircuitBreakerOpen: exitRefused, messages.BulkheadRejection: exitRefused, messages.Conflict: exitRefused,
	messages.JournalFull: exitRefused, messages.FailedPrecondition: exitRefused, messages.PermissionDenied: exitRefused, messages.Unauthenticated: exitRefused,
	messages.DeadlineExceeded: exitDeadline, messages.JournalDamaged: exitDamaged, messages.Cancelled: exitInterrupted,
}

// quietExit ends the program with this code and no error message.
type quietExit int

func (e quietExit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// act makes a RunE of a command's function. Errors of the function become typed; an untyped error is one of cobra's own, and means wrong
// usage. An interrupt cancels ctx; a second one ends the program at once.
func act(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		err := typed(f(ctx, args))
		if err != nil && ctx.Err() != nil { // the interrupt caused the error
			return quietExit(exitInterrupted)
		}
		return err
	}
}

// typed makes err a *messages.Error, except for the two other types that finish handles.
func typed(err error) error {
	var problems config.Problems
	var quiet quietExit
	switch {
	case err == nil:
		return nil
	case errors.As(err, &problems), errors.As(err, &quiet):
		return err
	}
	return messages.AsError(err)
}

// finish prints the error and returns the exit code.
func (c *cli) finish(cmd *cobra.Command, err error) int {
	var quiet quietExit
	var problems config.Problems
	var known *messages.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &quiet):
		return int(quiet)
	case errors.As(err, &problems):
		c.complain(&messages.Error{Code: messages.InvalidArgument, Subject: "configuration", Message: "it has mistakes\n" + problems.Error()})
		return exitUsage
	case errors.As(err, &known):
		c.complain(known)
		return exitOf[known.Code]
	}
	hint := "usage: " + cmd.UseLine() + "; more with " + cmd.CommandPath() + " --help"
	if cmd == cmd.Root() {
		for word, ours := range othersCommands {
			if strings.HasPrefix(err.Error(), fmt.Sprintf("unknown command %q", word)) {
				hint = ours
			}
		}
	}
	c.complain(messages.NewError(messages.InvalidArgument, "", err.Error()).WithHint(hint))
	return exitUsage
}

// othersCommands are what users of other programs type first, and what they find here.
var othersCommands = map[string]string{
	"pull":   "models are files on this machine: declare one in models.declare of cluster.yaml, or `modelops load NAME --path FILE`",
	"create": "declare the model in models.declare of cluster.yaml, then `modelops config apply`",
	"push":   "models are files on this machine; nothing is uploaded",
	"cp":     "give the model an alias: aliases in models.declare of cluster.yaml",
	"top":    "`modelops ps`, `modelops gpus` and `modelops queue` show what runs",
	"reload": "`modelops config apply` applies a changed configuration",
	"test":   "`modelops run MODEL PROMPT` asks a model, `modelops health` the daemon",
}

// complain writes an error for people, or as JSON, to stderr.
func (c *cli) complain(e *messages.Error) {
	if c.asJSON {
		_ = printProto(c.stderr, e.Body())
		return
	}
	explain(c.stderr, e)
}

func explain(w io.Writer, e *messages.Error) {
	var b strings.Builder
	b.WriteString("modelops: ")
	if e.Subject != "" {
		b.WriteString(e.Subject + ": ")
	}
	b.WriteString(e.Message + "\n")
	if e.Hint != "" {
		b.WriteString("hint: " + e.Hint + "\n")
	}
	if len(e.Log) > 0 {
		b.WriteString("last lines of its log:\n  " + strings.Join(e.Log, "\n  ") + "\n")
	}
	if e.Retry > 0 {
		fmt.Fprintf(&b, "try again in %s\n", e.Retry)
	}
	_, _ = io.WriteString(w, b.String())
}
