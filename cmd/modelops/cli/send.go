package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/structpb"

	"modelops/messages"
)

func (c *cli) sendCommand() *cobra.Command {
	var follow time.Duration
	cmd := &cobra.Command{
		Use: "send KIND/ID MESSAGE [JSON]", Args: cobra.RangeArgs(2, 3),
		Short: "Send a command to an actor and print the reply and the events it caused",
		Long: "send puts a command, in JSON, into an actor's mailbox. The JSON - is read from standard input. Actors also accept the internal commands\n" +
			"that they send each other, which are for tests and repairs; completion offers those too.\n\n" + commandList(),
		Example: "  modelops send model/tiny UnloadModel '{\"reason\":\"room for another\"}'\n  modelops send gpu/cpu ReserveVram '{\"lease\":\"mine\",\"holder\":\"client/me\",\"bytes\":\"1048576\",\"ttl_seconds\":60}' --follow 1s",
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 1 {
			kind, _, _ := strings.Cut(args[0], "/")
			var names []cobra.Completion
			for _, command := range messages.Commands(kind) {
				names = append(names, command.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		}
		return c.completeActors()(cmd, args, typed)
	}
	cmd.Flags().DurationVar(&follow, "follow", 0, "also print the events that it causes in other actors, for this long")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		body := "{}"
		if len(args) == 3 {
			var err error
			if body, err = c.text(args[2]); err != nil {
				return err
			}
		}
		fields := &structpb.Struct{}
		if err := protojson.Unmarshal([]byte(body), fields); err != nil {
			return messages.Errorf(messages.InvalidArgument, args[1], "its body is not a JSON object: %w", err).WithHint("quote it for the shell: '{\"reason\":\"...\"}'")
		}
		return c.asked(ctx, longWait, func(ctx context.Context, k *client) error { return c.send(ctx, k, args[0], args[1], fields, follow) })
	})
	return cmd
}

// commandList shows the public commands of each kind with their fields.
func commandList() string {
	var b strings.Builder
	b.WriteString("Commands:\n")
	for _, kind := range append([]messages.KindInfo{{Example: "every actor"}}, messages.Kinds()...) {
		var lines []string
		for _, command := range messages.Commands(kind.Name) {
			if command.Kind == kind.Name && command.Visibility == messages.Visibility_PUBLIC {
				lines = append(lines, fmt.Sprintf("    %s {%s}\n", command.Name, strings.Join(messages.FieldNames(command.New()), ", ")))
			}
		}
		if len(lines) > 0 {
			fmt.Fprintf(&b, "  %s\n%s", kind.Example, strings.Join(lines, ""))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

func (c *cli) send(ctx context.Context, k *client, name, command string, body *structpb.Struct, follow time.Duration) error {
	before, err := k.GetStatus(ctx, nil)
	if err != nil {
		return err
	}
	request := uuid.NewString()
	reply, err := k.SendCommand(messages.WithMeta(ctx, messages.Meta{Correlation: request}), &messages.SendRequest{Actor: name, Command: command, Body: body})
	if err != nil {
		return err
	}
	if err := c.printSent(reply); err != nil || follow <= 0 {
		return err
	}
	return c.followSent(ctx, k, before.JournalSequence, reply, request, follow)
}

func (c *cli) printSent(r *messages.SendReply) error {
	if c.asJSON {
		type event struct {
			Name string          `json:"name"`
			Body json.RawMessage `json:"body"`
		}
		events := []event{}
		for _, e := range r.Events {
			events = append(events, event{e.Name, wordsOf(e.Body, eventNamed(e.Name))})
		}
		return printJSONLine(c.stdout, struct { // on one line: what --follow prints comes after it
			AnswerType string          `json:"answer_type"`
			Answer     json.RawMessage `json:"answer"`
			Events     []event         `json:"events"`
			Sequence   float64         `json:"sequence"`
		}{r.AnswerType, wordsOf(r.Answer, messageNamed(r.AnswerType)), events, r.Sequence})
	}
	fmt.Fprintf(c.stdout, "%s %s\n", r.AnswerType, wordsOf(r.Answer, messageNamed(r.AnswerType)))
	for _, e := range r.Events {
		fmt.Fprintf(c.stdout, "%.0f  %s %s\n", r.Sequence, e.Name, wordsOf(e.Body, eventNamed(e.Name)))
	}
	if len(r.Events) == 0 {
		fmt.Fprintln(c.stdout, "the command changed nothing")
	}
	return nil
}

// wordsOf is a message that came as any JSON, with plain numbers where it is known which message it is.
func wordsOf(s *structpb.Struct, of protoreflect.MessageDescriptor) json.RawMessage {
	if s == nil {
		return json.RawMessage("null")
	}
	b := compact(s)
	if of == nil {
		return b
	}
	if plain, err := numbers(b, of); err == nil {
		return plain
	}
	return b
}

// messageNamed is nil for a message that this program doesn't know, of a newer daemon.
func messageNamed(name string) protoreflect.MessageDescriptor {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("modelops." + name))
	if err != nil {
		return nil
	}
	return t.Descriptor()
}

func eventNamed(name string) protoreflect.MessageDescriptor {
	if e := messages.NewEvent(name); e != nil {
		return e.ProtoReflect().Descriptor()
	}
	return nil
}

// followSent prints the decisions that the request caused, directly or through other decisions.
func (c *cli) followSent(ctx context.Context, k *client, after uint64, reply *messages.SendReply, request string, wait time.Duration) error {
	r, _, err := k.journal(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	family := map[string]bool{request: true}
	err = r.Follow(ctx, after, func(rec messages.Recorded) error {
		if !family[rec.Meta.Correlation] && !family[rec.Meta.Causation] {
			return nil
		}
		family[rec.ID] = true
		if rec.Sequence == uint64(reply.Sequence) {
			return nil
		}
		return c.printRecorded("", rec)
	})
	if messages.CodeOf(err) == messages.DeadlineExceeded {
		return nil
	}
	return err
}
