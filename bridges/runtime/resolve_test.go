package runtime

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// TestDeclarationsAreResolvedWhenTheyAreUsed: a declaration is journaled with ${VAR}; the value is read at the start of the process, and the
// declaration itself never gets it.
func TestDeclarationsAreResolvedWhenTheyAreUsed(t *testing.T) {
	r := New(Options{LogDir: t.TempDir(), Env: []string{"TOKEN=canary", "MODELS=/models", "PORT=1", "DOTTED=d"},
		Secret: func(model string, n int) string { return map[int]string{1: "first of " + model}[n] }})
	declared := &messages.ModelSpec{Name: "m~2", Path: "${MODELS}/a.gguf", Cmd: "x --port ${PORT} --id ${MODEL_ID}",
		Args: []string{"--api-key", "${TOKEN}", "${ABSENT:default}", "${ABSENT}", "${THREADS}"}, Env: []string{"A=${secret.1}", "B=${secret.2}", "C=${env.DOTTED}"}}
	before := proto.CloneOf(declared)
	got := r.resolved(declared)
	want := &messages.ModelSpec{Name: "m~2", Path: "/models/a.gguf", Cmd: "x --port ${PORT} --id ${MODEL_ID}",
		Args: []string{"--api-key", "canary", "default", "${ABSENT}", "${THREADS}"}, Env: []string{"A=first of m", "B=${secret.2}", "C=d"}}
	if !proto.Equal(got, want) {
		t.Errorf("resolved to %v, want %v", got, want)
	}
	if !proto.Equal(declared, before) {
		t.Errorf("the declaration itself became %v", declared)
	}
}

// TestRemoteAddressKeepsItsVariables: the record of a remote worker is journaled.
func TestRemoteAddressKeepsItsVariables(t *testing.T) {
	r := New(Options{LogDir: t.TempDir(), Env: []string{"PASSWORD=canary"}})
	spec := &messages.ModelSpec{Name: "far", Runtime: "openai", Url: "http://user:${PASSWORD}@127.0.0.1:1/${MODEL_ID}/v1/"}
	w, err := r.Start(t.Context(), spec, nil, "n")
	if err != nil || w.Url != "http://user:${PASSWORD}@127.0.0.1:1/far" {
		t.Fatal(w, err)
	}
	if got := r.Address("far", w.Url); got != "http://user:canary@127.0.0.1:1/far" {
		t.Error(got)
	}
}
