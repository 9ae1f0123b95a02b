package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelops/actors/arbiter"
	"modelops/bridges/config"
	"modelops/messages"
)

// The rules for jobs are those of the file, those of keys by fingerprint; they are made once for a configuration, and anew when it changes.
func TestRulesForJobs(t *testing.T) {
	read := func(text string) *config.Config {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := read("keys: [{name: ann, key: canary-ann}]\nlearning: {max_parallel_jobs: 3, inversion: preempt, evict_idle_models: false, quotas: {goals: {a: {devices: 2}}, keys: {ann: {gpu_hours: 8, per: day}}}}")
	d := &daemon{}
	d.current.Store(c)
	l := d.learning()
	if l.MaxJobs != 3 || !l.Invert || !l.KeepIdle || l.OfGoal("goal/h/a") != (arbiter.Quota{Devices: 2, Per: 7 * 24 * time.Hour}) || l.OfKey(c.Keys[0].Fingerprint()) != (arbiter.Quota{Hours: 8, Per: 24 * time.Hour}) {
		t.Errorf("%+v", l)
	}
	if first := d.learned.Load(); d.learning().MaxJobs != 3 || d.learned.Load() != first {
		t.Error("they are made for each question")
	}
	d.current.Store(read("learning: {max_parallel_jobs: 5}"))
	if l := d.learning(); l.MaxJobs != 5 || l.Invert || l.KeepIdle || len(l.Keys) > 0 {
		t.Errorf("after a change: %+v", l)
	}
}

func TestHealthTellsInversions(t *testing.T) {
	i := &messages.Inversion{Holder: "model/*/chat", Job: "job/h/tune", JobPriority: -10, Chain: []string{"3 requests", "job/h/tune is never asked to leave"}, Remedy: "pause or cancel it"}
	got := inversionTroubles([]*messages.Inversion{i})
	if len(got) != 1 || !strings.Contains(got[0], "model/*/chat, priority 0, waits for job/h/tune, priority -10 (3 requests -> job/h/tune is never asked to leave); to end it, pause or cancel it") {
		t.Errorf("%v", got)
	}
}
