//go:build e2e

package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// sleeperRole is an engine that speaks vLLM's sleep mode: its arguments are those that vLLM gets.
func sleeperRole(args []string) error {
	port, name := 0, ""
	for i := 0; i+1 < len(args); i++ {
		switch args[i] {
		case "--port":
			if _, err := fmt.Sscan(args[i+1], &port); err != nil {
				return err
			}
		case "--served-model-name":
			name = args[i+1]
		}
	}
	if port == 0 || name == "" {
		return errors.New("no --port or --served-model-name")
	}
	l, err := listenSaying(port)
	if err != nil {
		return err
	}
	var asleep atomic.Bool
	mux := (&player{says: name, began: time.Now()}).mux()
	turn := func(to bool) http.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) {
			due(time.Now().Add(20 * time.Millisecond))
			asleep.Store(to)
		}
	}
	mux.HandleFunc("POST /sleep", turn(true))
	mux.HandleFunc("POST /wake_up", turn(false))
	mux.HandleFunc("GET /is_sleeping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"is_sleeping":%t}`, asleep.Load()) })
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model"}]}`, name)
	})
	return (&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}).Serve(l)
}

// sleeperProgram is a script that vLLM's binary can be set to.
func sleeperProgram(t *testing.T, path string) {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s sleeper \"$@\"\n", self(t), roleWord)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}
