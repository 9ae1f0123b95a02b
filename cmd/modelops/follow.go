package main

import (
	"context"
	"os"
	"time"
)

// lookEvery is how often a watched configuration file is looked at. Polling sees what notification misses: bind-mounted single files,
// and editors that replace a file.
const lookEvery = time.Second

// followConfig applies the configuration at each SIGHUP, and when the watched file changed; an empty path watches nothing.
func (d *daemon) followConfig(ctx context.Context, hups <-chan os.Signal, path string) {
	var tick <-chan time.Time
	if path != "" {
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		tick = t.C
	}
	last := stampOf(path)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hups:
			d.reload(ctx)
		case <-tick:
			now := stampOf(path)
			if now != last {
				last = now
				d.reload(ctx)
			}
		}
	}
}

func stampOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return info.ModTime().String() + info.Name()
}

// reload applies what the file says now. A bad file changes nothing, and says so once.
func (d *daemon) reload(ctx context.Context) {
	done, err := operations{d}.ApplyConfig(ctx, false)
	if err != nil {
		d.log.Error("the configuration was not applied", "error", err)
		return
	}
	for _, what := range done.Refused {
		d.log.Error("the configuration rules, but this was refused", "error", what)
	}
	d.log.Info("configuration applied", "revision", done.Revision, "changes", done.Changes, "restart", done.Restart)
}
