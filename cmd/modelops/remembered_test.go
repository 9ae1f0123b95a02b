package main

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"modelops/messages"
)

// What hosts declare comes back with its age, without hosts that are no members and files that can't be read; a host that is dropped leaves nothing.
func TestRemembered(t *testing.T) {
	dir := t.TempDir()
	r := newRemembered(dir, slog.New(slog.DiscardHandler))
	declares := func(host, name string) []*messages.ModelView {
		id := messages.ModelActor(host, name)
		return []*messages.ModelView{{Id: id.String(), Host: host, Name: name, Spec: &messages.ModelSpec{Name: name, Cmd: "run ${KEY}"}}}
	}
	for _, host := range []string{"pc2", "pc3", "pc4"} {
		r.Keep(host, declares(host, "old"))
		r.Keep(host, declares(host, "m"))
		r.Keep(host, declares(host, "m"))
	}
	back := func() string {
		out := ""
		newRemembered(dir, slog.New(slog.DiscardHandler)).restore(func(host string) bool { return host != "pc3" }, func(host string, models []*messages.ModelView, age time.Duration) {
			out += fmt.Sprint(host, " ", models[0].Name, " ", models[0].Spec.Cmd, " ", age.Round(time.Minute), "; ")
		})
		return out
	}
	ago := time.Now().Add(-5 * time.Minute)
	if err := os.Chtimes(r.path("pc2"), ago, ago); err != nil {
		t.Fatal(err)
	}
	if got := back(); got != "pc2 m run ${KEY} 5m0s; pc4 m run ${KEY} 0s; " {
		t.Error(got)
	}
	if _, err := os.Stat(r.path("pc3")); err == nil {
		t.Error("what a host declared that is no member is kept")
	}
	r.wrote["pc2"] = ago
	r.Keep("pc2", declares("pc2", "m")) // the same, but it is heard
	if err := os.WriteFile(r.path("pc4"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := back(); got != "pc2 m run ${KEY} 0s; " {
		t.Error(got)
	}
	r.Drop("pc2")
	r.Drop("pc2")
	if got := back(); got != "" {
		t.Error(got)
	}
}
