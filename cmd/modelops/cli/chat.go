package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) chatCommand() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use: "chat MODEL", Args: cobra.ExactArgs(1),
		Short: "Chat with a model",
		Long: "chat keeps the conversation in memory and sends all of it with each message. /clear starts a new conversation, /quit or Ctrl-D\n" +
			"exits, Ctrl-C stops the current answer. Nothing is stored.",
		ValidArgsFunction: c.completeModels(1),
	}
	a.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return c.chatWith(cmd, &a, args[0]) }
	return cmd
}

func (c *cli) chatWith(cmd *cobra.Command, a *asking, model string) error {
	k, err := c.dial(cmd.Context())
	if err != nil {
		return err
	}
	defer k.close()
	if err := c.knows(cmd.Context(), k, model); err != nil {
		return typed(err)
	}
	return typed(c.newChat(k, a.system, func() *messages.InferenceRequest { return a.request(cmd, model) }).run(askedOf(cmd.Context(), a.host)))
}

// knows is the error of a model that the daemon doesn't have: before the first message of a chat, which may never come. A key that may only infer
// learns it from its first message.
func (c *cli) knows(ctx context.Context, k *client, model string) error {
	ctx, cancel := c.within(ctx, shortWait)
	defer cancel()
	_, err := k.named(ctx, model)
	if messages.CodeOf(err) == messages.ModelNotFound && !strings.HasPrefix(model, "model/") { // another form of a name, which the daemon reads
		return err
	}
	return nil
}

// chat is a conversation.
type chat struct {
	c       *cli
	k       *client
	request func() *messages.InferenceRequest // a request without messages
	system  string
	turns   []*messages.ChatMessage
	signals chan os.Signal
	failed  *messages.Error // of the last message
}

func (c *cli) newChat(k *client, system string, request func() *messages.InferenceRequest) *chat {
	t := &chat{c: c, k: k, system: system, request: request, signals: make(chan os.Signal, 1)}
	t.clear()
	return t
}

func (t *chat) clear() {
	t.turns = nil
	if t.system != "" {
		t.turns = []*messages.ChatMessage{{Role: "system", Content: t.system}}
	}
}

// run reads lines until the end of input. A goroutine of its own reads them, because Ctrl-C can't interrupt a read.
func (t *chat) run(ctx context.Context) error {
	signal.Notify(t.signals, os.Interrupt)
	defer signal.Stop(t.signals)
	lines := make(chan string)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() { defer close(lines); failed <- readLines(ctx, t.c.stdin, lines) }()
	for {
		t.prompt()
		select {
		case <-t.signals:
			if !terminal(t.c.stdin) {
				return quietExit(exitInterrupted)
			}
			fmt.Fprintln(t.c.stdout, "\n/quit or Ctrl-D exits")
		case line, ok := <-lines:
			if !ok {
				t.newline()
				if err := <-failed; err != nil {
					return err
				}
				return t.outcome()
			}
			if !t.turn(ctx, strings.TrimSpace(line)) {
				return t.outcome()
			}
		}
	}
}

// outcome is the exit code of a conversation that a program had: that of its last message.
func (t *chat) outcome() error {
	if t.failed == nil || terminal(t.c.stdin) {
		return nil
	}
	return quietExit(exitOf[t.failed.Code])
}

func readLines(ctx context.Context, from io.Reader, to chan<- string) error {
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			select {
			case to <- line:
			case <-ctx.Done():
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *chat) prompt() {
	if terminal(t.c.stdin) {
		fmt.Fprint(t.c.stdout, "> ")
	}
}

func (t *chat) newline() {
	if terminal(t.c.stdin) {
		fmt.Fprintln(t.c.stdout)
	}
}

// turn handles one line of input; false ends the conversation.
func (t *chat) turn(ctx context.Context, line string) bool {
	switch {
	case line == "":
	case line == "/quit", line == "/exit", line == "/bye":
		return false
	case line == "/clear":
		t.clear()
	case strings.HasPrefix(line, "/"):
		fmt.Fprintln(t.c.stdout, "the commands are /clear and /quit")
	default:
		t.say(ctx, line)
	}
	return true
}

// say sends the conversation and one more message. A message without an answer is not kept.
func (t *chat) say(ctx context.Context, line string) {
	ctx, cancel := t.c.within(ctx, longWait)
	defer cancel()
	answered := make(chan struct{})
	defer close(answered)
	interrupted := make(chan struct{})
	go func() {
		select {
		case <-t.signals:
			close(interrupted)
			cancel()
		case <-answered:
		}
	}()
	r := t.request()
	r.Messages = append(append(r.Messages, t.turns...), &messages.ChatMessage{Role: "user", Content: line})
	var text strings.Builder
	wait := t.c.awaiting(ctx, r)
	defer wait()
	pauses := t.c.lull()
	defer pauses.done()
	answer, err := t.k.infer(ctx, r, func(chunk *messages.InferenceChunk) error {
		if chunk.Text != "" || chunk.Done {
			wait()
		}
		text.WriteString(chunk.Text)
		return pauses.chunk(chunk, t.c.printChunk)
	})
	wait()
	pauses.done()
	t.failed = nil
	select {
	case <-interrupted:
		fmt.Fprintln(t.c.stdout)
		return
	default:
	}
	if err != nil {
		if text.Len() > 0 {
			fmt.Fprintln(t.c.stdout)
		}
		t.failed = messages.AsError(err)
		t.c.complain(t.failed)
		return
	}
	t.c.sayEmpty(text.String(), answer)
	t.turns = append(r.Messages, &messages.ChatMessage{Role: "assistant", Content: text.String()})
	if terminal(t.c.stdout) && !t.c.asJSON {
		fmt.Fprintf(t.c.stdout, "(%s)\n", sum(answer))
	}
}
