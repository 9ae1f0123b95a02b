package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

// asking is the flags of a request that infer and chat share.
type asking struct {
	maxTokens   int32
	temperature float32
	system      string
	stop        []string
	seed        int64
	format      answerFormat
	host        string
}

// answerFormat is what an answer has to be: any text, JSON, or JSON of a schema. It holds the value of response_format.
type answerFormat string

func (f *answerFormat) String() string { return "" }
func (f *answerFormat) Type() string   { return "json|SCHEMA" }

func (f *answerFormat) Set(text string) error {
	var schema map[string]any
	switch err := json.Unmarshal([]byte(text), &schema); {
	case text == "json":
		*f = `{"type":"json_object"}`
	case err != nil:
		return errors.New("it is json, or a JSON schema")
	default:
		b, err := json.Marshal(map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "answer", "schema": schema}})
		*f = answerFormat(b)
		return err
	}
	return nil
}

func (a *asking) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Int32Var(&a.maxTokens, "max-tokens", 0, "maximum number of tokens to generate (default 100)")
	f.Float32Var(&a.temperature, "temperature", 0.7, "sampling temperature; 0 always takes the most likely token")
	f.StringVar(&a.system, "system", "", "system message")
	f.StringArrayVar(&a.stop, "stop", nil, "text that ends the answer; can be repeated")
	f.Var(&a.format, "format", "the answer is JSON: json, or a JSON schema that it follows, where the engine can")
	hostFlag(cmd, &a.host, "the only host whose worker may answer")
	f.Int64Var(&a.seed, "seed", 0, "seed of the sampler, for reproducible answers")
}

// request is a request with the flags that were given. The daemon chooses the rest.
func (a *asking) request(cmd *cobra.Command, model string) *messages.InferenceRequest {
	r := &messages.InferenceRequest{ModelName: model, MaxTokens: a.maxTokens, Stop: a.stop}
	if cmd.Flags().Changed("temperature") {
		r.Temperature = &a.temperature
	}
	parameters := map[string]string{}
	if cmd.Flags().Changed("seed") {
		parameters["seed"] = strconv.FormatInt(a.seed, 10)
	}
	if a.format != "" {
		parameters["response_format"] = string(a.format)
	}
	if len(parameters) > 0 {
		r.Parameters = parameters
	}
	return r
}

func (c *cli) inferCommand() *cobra.Command {
	var a asking
	var raw, stream bool
	cmd := &cobra.Command{
		Use: "infer MODEL [PROMPT]", Args: cobra.RangeArgs(1, 2),
		Short: "Send a prompt to a model, which is loaded first if necessary",
		Long: "infer sends one prompt and prints the answer. Without PROMPT, or with -, it is read from standard input. On a terminal the answer is streamed.\n" +
			"The value of MODELOPS_API_KEY is sent as the API key.",
		Example:           "  modelops infer tiny \"What is the capital of France?\" --temperature 0\n  git diff | modelops infer tiny - --system \"Summarise this change\"",
		ValidArgsFunction: c.completeModels(1),
	}
	a.flags(cmd)
	cmd.Flags().BoolVar(&raw, "raw", false, "complete the prompt as it is, without the chat template")
	cmd.Flags().BoolVar(&stream, "stream", terminal(c.stdout), "stream the answer (default on a terminal)")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		r := a.request(cmd, args[0])
		if len(args) == 1 && terminal(c.stdin) {
			return messages.NewError(messages.InvalidArgument, "prompt", "there is none").WithHint("give it as the second argument, or on standard input")
		}
		prompt, err := c.text(append(args, "-")[1])
		if err != nil {
			return err
		}
		if strings.TrimSpace(prompt) == "" {
			return messages.NewError(messages.InvalidArgument, "prompt", "it is empty").WithHint("give it as the second argument, or on standard input")
		}
		switch {
		case a.system != "" && raw:
			return messages.NewError(messages.InvalidArgument, "--system", "--raw allows no system message").WithHint("put it into the prompt")
		case a.system != "":
			r.Messages = []*messages.ChatMessage{{Role: "system", Content: a.system}, {Role: "user", Content: prompt}}
		default:
			r.Prompt, r.Raw = prompt, raw
		}
		return c.infer(askedOf(ctx, a.host), r, stream)
	})
	return cmd
}

// text is an argument, or for "-" the whole standard input.
func (c *cli) text(arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	b, err := io.ReadAll(c.stdin)
	return string(b), err
}

func (c *cli) infer(ctx context.Context, r *messages.InferenceRequest, stream bool) error {
	return c.asked(ctx, longWait, func(ctx context.Context, k *client) error {
		if stream {
			return c.inferStream(ctx, k, r)
		}
		wait := c.awaiting(ctx, r)
		defer wait()
		answer, err := k.infer(ctx, r, nil)
		wait()
		if err != nil {
			return err
		}
		c.sayEmpty(answer.ResponseText, answer)
		return show(c, answer, func(a *messages.InferenceResponse) error {
			_, err := fmt.Fprintln(c.stdout, strings.TrimRight(a.ResponseText, "\n"))
			return err
		})
	})
}

func (c *cli) inferStream(ctx context.Context, k *client, r *messages.InferenceRequest) error {
	wait := c.awaiting(ctx, r)
	defer wait()
	pauses := c.lull()
	defer pauses.done()
	var text strings.Builder
	answer, err := k.infer(ctx, r, func(chunk *messages.InferenceChunk) error {
		if chunk.Text != "" || chunk.Done { // an empty one is no answer yet
			wait()
		}
		text.WriteString(chunk.Text)
		return pauses.chunk(chunk, c.printChunk)
	})
	wait()
	pauses.done()
	switch {
	case err == nil:
		c.sayEmpty(text.String(), answer)
	case text.Len() > 0 && !c.asJSON:
		fmt.Fprintln(c.stdout) // the error begins on a line of its own
	}
	return err
}

// sayEmpty tells on stderr that a model answered without a text: one that only reasoned has used its tokens for that.
func (c *cli) sayEmpty(text string, answer *messages.InferenceResponse) {
	if strings.TrimSpace(text) != "" || c.asJSON {
		return
	}
	fmt.Fprintf(c.stderr, "the answer is empty: %d tokens, finish reason %q; a model that reasons may need a larger --max-tokens\n", answer.GetTokensGenerated(), answer.GetFinishReason())
}

// printChunk writes a chunk of an answer; the last one ends the line.
func (c *cli) printChunk(chunk *messages.InferenceChunk) error {
	if c.asJSON {
		return printJSONLine(c.stdout, compact(chunk))
	}
	text := chunk.Text
	if chunk.Done {
		text = "\n"
	}
	_, err := io.WriteString(c.stdout, text)
	return err
}

// sum is an answer's tokens, time and rate on one line.
func sum(r *messages.InferenceResponse) string {
	took := time.Duration(r.InferenceTimeMs) * time.Millisecond
	s := fmt.Sprintf("%d tokens in %s", r.TokensGenerated, lasting(took))
	if took > 0 {
		s += fmt.Sprintf(", %.0f/s", float64(r.TokensGenerated)/took.Seconds())
	}
	return s
}
