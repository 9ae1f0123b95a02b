package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"modelops/actors/model"
	"modelops/bridges/process"
	"modelops/bridges/runtime"
)

// A stop of the host ends workers, loading or ready: their signal may come before ours. Another end is the model's own.
func TestTheStopEndsWorkers(t *testing.T) {
	term := model.Exit{Code: 143}
	unseen := &runtime.ExitError{Exit: process.Exit{Unwitnessed: true}}
	for name, c := range map[string]struct {
		err           error
		before, after bool // the stop begins before the end, or a moment after it
		stoppedWell   bool
		want          bool
	}{
		"a signal before ours":          {term, false, true, false, true},
		"a signal of somebody else":     {term, false, false, false, false},
		"any end during the stop":       {model.Exit{Code: 1}, true, false, false, true},
		"its own end":                   {model.Exit{Code: 1}, false, true, false, false},
		"no exit":                       {errors.New("no"), true, false, false, false},
		"unseen, after a good stop":     {unseen, false, false, true, true},
		"unseen, and there was no stop": {unseen, false, false, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &daemon{stoppedWell: c.stoppedWell}
			d.stopping.Store(c.before)
			if c.after {
				time.AfterFunc(signalTime/2, func() { d.stopping.Store(true) })
			}
			if got := d.interrupted(context.Background(), c.err); got != c.want {
				t.Errorf("%s: %t", name, got)
			}
		})
	}
}
