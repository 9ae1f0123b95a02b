package config

import (
	"context"
	"os"
	"time"
)

// lookEvery is how often a watched configuration file is looked at. Polling sees what notification misses: bind-mounted single files,
// and editors that replace a file.
const lookEvery = time.Second

// Follow calls reload at each signal, and when the watched file changed, until ctx ends; an empty path watches nothing.
func Follow(ctx context.Context, signals <-chan os.Signal, path string, reload func(context.Context)) {
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
		case <-signals:
			reload(ctx)
		case <-tick:
			now := stampOf(path)
			if now != last {
				last = now
				reload(ctx)
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
