package runtime

import (
	"strings"
	"testing"

	"modelops/messages"
)

func TestWorkersEnvironment(t *testing.T) {
	r := New(Options{
		LogDir: t.TempDir(), Env: newEnviron("FAKE=serve:fake", "MODELOPS_API_KEY=secret", "WHERE=here"),
		DeviceEnv: func(p *messages.Placement) []string { return []string{"CUDA_VISIBLE_DEVICES=uuid-of-" + p.Gpu()} },
	})
	spec := fakeSpec()
	spec.Env = []string{"A=${env.WHERE} ${MODEL_ID}", "WHERE=there"}
	n := nonce(t)
	w, err := r.Start(t.Context(), spec, &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/gpu0"}}}, n)
	if err != nil {
		t.Fatal(err)
	}
	defer stopped(t, r, spec, w)
	if _, _, err := r.AwaitReady(t.Context(), spec, w); err != nil {
		t.Fatal(err)
	}
	env := newEnvironment(strings.Split(string(r.ask(t.Context(), spec, w, "/env").body), "\n"))
	want := environment{
		"A": "here fake", "WHERE": "there", "CUDA_VISIBLE_DEVICES": "uuid-of-gpu/h/gpu0",
		"MODELOPS_NONCE": n, modelVar: "fake", "MODELOPS_LOG": w.LogPath, urlVar: w.Url, "MODELOPS_API_KEY": "",
	}
	for name, value := range want {
		if env[name] != value {
			t.Errorf("%s is %q, want %q", name, env[name], value)
		}
	}
}
