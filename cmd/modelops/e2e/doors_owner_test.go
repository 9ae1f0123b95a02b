//go:build e2e

package e2e_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"modelops/messages"
)

// TestOperationsReachTheOwner: a model that only pc2 declares is loaded, unloaded, pinned, kept room for and swapped at main_pc as at its own host.
func TestOperationsReachTheOwner(t *testing.T) {
	main, pc2 := pair(t, func(host string) string {
		if host == "main_pc" {
			return ""
		}
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {declare: {one: %s, next: %s}}\n", worker(t, ""), worker(t, ""))
	})
	main.until(startLimit, "main_pc knows the models of pc2", func() bool { return main.phaseAt("next", "pc2") == "absent" })
	c := main.control(t)
	phase := func(name, want string) func() bool { return func() bool { return pc2.phaseAt(name, "pc2") == want } }
	for _, step := range []struct {
		name string
		do   func() error
		then func() bool
	}{
		{"load", func() error {
			_, err := c.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: "one"})
			return err
		}, phase("one", "ready")},
		{"pin", func() error {
			_, err := c.PinModel(t.Context(), &messages.PinModelRequest{ModelName: "one", Owner: "me"})
			return err
		}, func() bool { return pc2.model("one").PinnedBy == "me" }},
		{"unpin", func() error {
			_, err := c.UnpinModel(t.Context(), &messages.UnpinModelRequest{ModelName: "one"})
			return err
		}, func() bool { return pc2.model("one").PinnedBy == "" }},
		{"hint", func() error {
			h, err := c.HintModel(t.Context(), &messages.HintModelRequest{ModelName: "next", WithinSeconds: 600})
			if err == nil && h.Gpu != "gpu/pc2/gpu0" {
				err = fmt.Errorf("room is kept at %q", h.Gpu)
			}
			return err
		}, func() bool { return true }},
		{"swap", func() error {
			_, err := c.StartSwap(t.Context(), &messages.SwapModel{Name: "one", To: "next", CanaryPct: 50, MinRequests: 1000})
			return err
		}, phase("next", "ready")},
		{"promote", func() error { _, err := c.PromoteSwap(t.Context(), &messages.PromoteSwap{Name: "one"}); return err }, phase("one", "absent")},
		{"unload", func() error {
			_, err := c.UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: "next"})
			return err
		}, phase("next", "absent")},
		{"load at a named host", func() error {
			_, err := c.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: "one", Host: "pc2"})
			return err
		}, phase("one", "ready")},
		{"unload at a named host", func() error {
			_, err := c.UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: "one", Host: "pc2"})
			return err
		}, phase("one", "absent")},
		{"a request bound to its host", func() error {
			if a := main.post("/v1/chat/completions", chatBody("one", ""), messages.HostHeader, "pc2"); a.status != 200 {
				return fmt.Errorf("%s", a)
			}
			return nil
		}, phase("next", "ready")}, // the swap at pc2 holds for it
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
			continue
		}
		pc2.until(waitLimit, step.name, step.then)
	}
}

// TestStreamsAndBatchesAcrossHosts: requests on one InferStream, and requests that share one upstream request, are answered by another host's worker, each its own.
func TestStreamsAndBatchesAcrossHosts(t *testing.T) {
	main, pc2 := pair(t, func(host string) string {
		if host == "main_pc" {
			return "batch: {window: 20ms, max_size: 8}\n"
		}
		return "batch: {window: 20ms, max_size: 8}\nresources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {preload: [{name: tiny}], declare: {tiny: {runtime: embedded, path: TINY, batch: {completions: true}}}}\n"
	})
	pc2.awaitPhase("tiny", "ready")
	main.until(startLimit, "main_pc knows tiny", func() bool { return main.phaseAt("tiny", "pc2") == "ready" })
	ids := []string{"a", "b", "c"}
	var requests []*messages.InferenceRequest
	for _, id := range ids {
		requests = append(requests, &messages.InferenceRequest{RequestId: id, ModelName: "tiny", Prompt: france, Temperature: new(float32), MaxTokens: 20})
	}
	stream := main.inferStream(t.Context(), requests...)
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	said, hosts := map[string]string{}, map[string]string{}
	for {
		chunk, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		said[chunk.RequestId] += chunk.Text
		hosts[chunk.RequestId] += chunk.GetResponse().GetHost()
	}
	for _, id := range ids {
		if said[id] != paris || hosts[id] != "pc2" {
			t.Errorf("%s: %q by %q", id, said[id], hosts[id])
		}
	}
	ask := func(text string) string {
		return textOf(string(main.post("/v1/completions", object{"model": "tiny", "prompt": text, "max_tokens": 6, "temperature": 0}).body))
	}
	texts, alone := []string{"one and", "the capital of", "a long", "never"}, map[string]string{}
	for _, text := range texts {
		alone[text] = ask(text)
	}
	var crowd sync.WaitGroup
	for range 4 {
		for _, text := range texts {
			crowd.Go(func() {
				if got := ask(text); got != alone[text] || strings.TrimSpace(got) == "" {
					t.Errorf("%q: together %q, alone %q", text, got, alone[text])
				}
			})
		}
	}
	crowd.Wait()
}
