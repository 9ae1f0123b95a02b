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
		Use: "load NAME", Args: cobra.ExactArgs(1),
		Short:             "Load a model and wait until it is ready",
		Example:           "  modelops load tiny\n  modelops load mine --path ./mine.gguf",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.Flags().StringVar(&r.ModelPath, "path", "", "file of the model, if the configuration doesn't declare it")
	hostFlag(cmd, &r.Host, "host on which it is to run (default: the scheduler chooses)")
	cmd.Flags().Int32Var(&r.Shards, "shards", 0, "number of devices to split the model over")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		r.ModelName = args[0]
		if r.ModelPath != "" {
			// The daemon has its own working directory.
			abs, err := filepath.Abs(r.ModelPath)
			if err != nil {
				return err
			}
			r.ModelPath = abs
		}
		return c.asked(ctx, longWait, func(ctx context.Context, k *client) error { return c.load(ctx, k, r) })
	})
	return cmd
}

func (c *cli) load(ctx context.Context, k *client, r *messages.ModelLoadRequest) error {
	bar := c.progress("loading " + r.ModelName)
	defer bar.done()
	watched, stop := context.WithCancel(ctx)
	if bar.shows() {
		go watchLoad(watched, k, r.ModelName, bar)
	}
	answer, err := k.LoadModel(ctx, r)
	stop()
	bar.done()
	if err != nil {
		return err
	}
	return show(c, answer, func(a *messages.ModelLoadReply) error {
		_, err := fmt.Fprintf(c.stdout, "%s is ready, %d MiB\n", a.ModelId, a.VramUsedMb)
		return err
	})
}

const loadLookEvery = 150 * time.Millisecond

// watchLoad shows the stages of a load. It ignores errors: the load does not depend on it.
func watchLoad(ctx context.Context, k *client, name string, bar *progress) {
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
	if v.Phase != messages.ModelView_loading || v.GetWorker().GetUrl() == "" || v.GetWorker().GetRemote() {
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

// loadProgress asks a worker on this machine which part of its model it has read, from 0 to 1. Not every engine reports it.
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
	var all bool
	cmd := &cobra.Command{
		Use: "unload NAME | --all", Aliases: []string{"stop"},
		Short: "Unload a model, or all, after the running requests have finished",
		Args: func(cmd *cobra.Command, args []string) error {
			if all {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		ValidArgsFunction: c.completeModels(1),
	}
	hostFlag(cmd, &r.Host, "host whose model it is (default: the one on which it is loaded)")
	cmd.Flags().BoolVar(&r.Force, "force", false, "cancel its running requests")
	cmd.Flags().BoolVar(&all, "all", false, "unload every model")
	cmd.RunE = c.asks(longWait, func(ctx context.Context, k *client, args []string) error {
		if all {
			return c.unloadAll(ctx, k, r.Force)
		}
		r.ModelName = args[0]
		bar := c.progress(r.ModelName + ": waiting for its requests to finish and its memory to be freed")
		defer bar.done()
		answer, err := k.UnloadModel(ctx, r)
		if err != nil {
			return err
		}
		bar.done()
		return show(c, answer, func(a *messages.ModelUnloadReply) error {
			freed := ""
			if a.VramFreedMb > 0 {
				freed = fmt.Sprintf(", %d MiB freed", a.VramFreedMb)
			}
			_, err := fmt.Fprintf(c.stdout, "%s is unloaded%s\n", r.ModelName, freed)
			return err
		})
	})
	return cmd
}
