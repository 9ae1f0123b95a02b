package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) runCommand() *cobra.Command {
	var a asking
	load := &messages.ModelLoadRequest{}
	cmd := &cobra.Command{
		Use: "run MODEL [PROMPT...]", Args: cobra.MinimumNArgs(1),
		Short: "Load a model and ask it, or chat with it",
		Long: "run loads MODEL if necessary. With PROMPT it prints the answer and exits; what standard input is given stands before it. Without PROMPT\n" +
			"it answers standard input, as with -, or on a terminal begins a chat (/bye ends it). Without any input it only loads the model.",
		Example:           "  modelops run tiny Why is the sky blue?\n  cat notes.txt | modelops run tiny \"Summarise this\"\n  modelops run tiny",
		ValidArgsFunction: c.completeModels(1),
	}
	a.flags(cmd)
	cmd.Flags().StringVar(&load.ModelPath, "path", "", "file of the model, if the configuration doesn't declare it")
	cmd.Flags().Int32Var(&load.Shards, "shards", 0, "number of devices to split the model over")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		prompt, err := c.promptOf(args[1:])
		if err != nil {
			return typed(err)
		}
		load.ModelName = args[0]
		chats := prompt == "" && terminal(c.stdin)
		err = act(func(ctx context.Context, _ []string) error {
			if prompt != "" && load.ModelPath == "" {
				return c.infer(ctx, a.asks(cmd, args[0], prompt), terminal(c.stdout)) // the request loads the model
			}
			return c.asked(ctx, longWait, func(ctx context.Context, k *client) error {
				if load.ModelPath != "" {
					if load.ModelPath, err = filepath.Abs(load.ModelPath); err != nil {
						return err
					}
				}
				if prompt == "" && !chats {
					return c.load(ctx, k, load)
				}
				if err := c.loadSilently(ctx, k, load); err != nil || chats {
					return err
				}
				return c.infer(ctx, a.asks(cmd, args[0], prompt), terminal(c.stdout))
			})
		})(cmd, args)
		if err != nil || !chats {
			return err
		}
		return c.chatWith(cmd, &a, args[0])
	}
	return cmd
}

// asks is a request with a prompt, after the system message if there is one.
func (a *asking) asks(cmd *cobra.Command, model, prompt string) *messages.InferenceRequest {
	r := a.request(cmd, model)
	if a.system == "" {
		r.Prompt = prompt
		return r
	}
	r.Messages = []*messages.ChatMessage{{Role: "system", Content: a.system}, {Role: "user", Content: prompt}}
	return r
}

// promptOf is what standard input is given, unless it is a terminal or a device, and the words. The word - alone is all of standard input, whatever
// it is.
func (c *cli) promptOf(words []string) (string, error) {
	if len(words) == 1 && words[0] == "-" {
		prompt, err := c.text("-")
		if err == nil && strings.TrimSpace(prompt) == "" {
			err = messages.NewError(messages.InvalidArgument, "prompt", "it is empty").WithHint("give it as an argument, or on standard input")
		}
		return strings.TrimRight(prompt, "\r\n"), err
	}
	said := strings.Join(words, " ")
	if f, ok := c.stdin.(*os.File); ok {
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() && st.Mode()&os.ModeNamedPipe == 0 {
			return said, nil //nolint:nilerr // a closed standard input is none
		}
	}
	b, err := io.ReadAll(c.stdin)
	if err != nil {
		return "", err
	}
	given := strings.TrimRight(string(b), "\r\n")
	if strings.TrimSpace(given) == "" {
		return said, nil
	}
	if said == "" {
		return given, nil
	}
	return given + "\n\n" + said, nil
}

// loadSilently loads a model and shows only the progress.
func (c *cli) loadSilently(ctx context.Context, k *client, r *messages.ModelLoadRequest) error {
	bar := c.progress("loading " + r.ModelName)
	defer bar.done()
	_, err := k.LoadModel(ctx, r)
	return err
}
