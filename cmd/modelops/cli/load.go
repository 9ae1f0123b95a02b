package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) loadCommand() *cobra.Command {
	r := &messages.ModelLoadRequest{}
	cmd := &cobra.Command{
		Use: "load NAME", Aliases: []string{"run"}, Args: cobra.ExactArgs(1),
		Short:             "Make a model resident and wait until it is ready",
		Example:           "  modelops load tiny\n  modelops load mine --path ./mine.gguf",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.Flags().StringVar(&r.ModelPath, "path", "", "its file, for a model that the configuration doesn't declare")
	cmd.Flags().Int32Var(&r.Shards, "shards", 0, "devices that the model is split over")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		r.ModelName = args[0]
		if r.ModelPath != "" {
			// The daemon's working directory is another one.
			abs, err := filepath.Abs(r.ModelPath)
			if err != nil {
				return err
			}
			r.ModelPath = abs
		}
		return c.asked(ctx, longWait, func(ctx context.Context, k *Client) error { return c.load(ctx, k, r) })
	})
	return cmd
}

func (c *cli) load(ctx context.Context, k *Client, r *messages.ModelLoadRequest) error {
	bar := c.progress("asking for " + r.ModelName)
	defer bar.done()
	watched, stop := context.WithCancel(ctx)
	if bar.options != nil {
		go watchLoad(watched, k, r.ModelName, bar)
	}
	answer := &messages.ModelLoadReply{}
	err := k.askFor(ctx, "models.load", r, answer)
	stop()
	bar.done()
	switch {
	case err != nil:
		return err
	case c.asJSON:
		return printProto(c.stdout, answer)
	}
	fmt.Fprintf(c.stdout, "%s is ready, %d MiB\n", answer.ModelId, answer.VramUsedMb)
	return nil
}

const loadLookEvery = 150 * time.Millisecond

// watchLoad shows the stages of a load. What can't be seen is not shown: the load itself doesn't depend on it.
func watchLoad(ctx context.Context, k *Client, name string, bar *progress) {
	host, err := k.host(ctx)
	if err != nil {
		return
	}
	tick := time.NewTicker(loadLookEvery)
	defer tick.Stop()
	for {
		if v, err := k.model(ctx, messages.ModelActor(host, name)); err == nil {
			showLoad(ctx, v, bar)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func showLoad(ctx context.Context, v *messages.ModelView, bar *progress) {
	label := fmt.Sprintf("%s: %s", v.Name, v.Phase)
	if on := deviceOf(v); on != "" {
		label += " on " + on
	}
	if v.Attempt > 1 && v.Error != nil {
		label += fmt.Sprintf(" (try %d, last: %s)", v.Attempt, v.Error.Message)
	}
	bar.stage(label)
	if v.Phase != "loading" || v.GetWorker().GetUrl() == "" || v.GetWorker().GetRemote() {
		return
	}
	done, ok := loadProgress(ctx, v.Worker.Url)
	if !ok {
		return
	}
	if st, err := os.Stat(v.GetSpec().GetPath()); err == nil {
		bar.at(int64(done*float64(st.Size())), st.Size(), true)
	} else {
		bar.at(int64(done*100), 100, false)
	}
}

// loadProgress asks a worker on this machine how much of its model is read. Not every engine tells.
func loadProgress(ctx context.Context, url string) (float64, bool) {
	ctx, cancel := context.WithTimeout(ctx, loadLookEvery)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health", nil)
	if err != nil {
		return 0, false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, false
	}
	defer answer.Body.Close()
	var body struct {
		Progress *float64 `json:"progress"`
	}
	if json.NewDecoder(http.MaxBytesReader(nil, answer.Body, 64<<10)).Decode(&body) != nil || body.Progress == nil {
		return 0, false
	}
	return *body.Progress, true
}

func (c *cli) unloadCommand() *cobra.Command {
	r := &messages.ModelUnloadRequest{}
	cmd := &cobra.Command{
		Use: "unload NAME", Aliases: []string{"stop"}, Args: cobra.ExactArgs(1),
		Short:             "Let a model's requests finish and free its memory",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.Flags().BoolVar(&r.Force, "force", false, "end its running requests")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		return c.asked(ctx, longWait, func(ctx context.Context, k *Client) error {
			bar := c.progress(args[0] + ": waiting for its requests and its memory")
			defer bar.done()
			answer := &messages.ModelUnloadReply{}
			if err := k.askFor(ctx, subjectFor("models.unload", args[0]), &messages.ModelUnloadRequest{ModelName: args[0], Force: r.Force}, answer); err != nil {
				return err
			}
			bar.done()
			if c.asJSON {
				return printProto(c.stdout, answer)
			}
			freed := ""
			if answer.VramFreedMb > 0 {
				freed = fmt.Sprintf(", %d MiB free again", answer.VramFreedMb)
			}
			fmt.Fprintf(c.stdout, "%s is unloaded%s\n", args[0], freed)
			return nil
		})
	})
	return cmd
}
