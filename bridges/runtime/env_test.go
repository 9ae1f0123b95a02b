package runtime

import (
	"strings"
	"testing"

	"modelops/bridges/process"
	"modelops/messages"
)

func TestWorkersEnvironment(t *testing.T) {
	r := New(Options{
		LogDir: t.TempDir(), Env: newEnviron("FAKE=serve:fake", "MODELOPS_API_KEY=secret", "WHERE=here", "ALICE_KEY=canary", "NAMED_TOKEN=named",
			"HF_TOKEN=canary", "HF_HOME=/hf", "LLAMA_API_KEY=canary", "CUDA_HOME=/cuda", "NOBODY=x",
			"DOCKER_PASS=canary", "OLLAMA_AUTH=canary", "MY_CALLER=canary", "MY_OTHER=passed", "MODELOPS_SERVER=canary"), PassEnv: []string{"FAKE", "MY_*", "MODELOPS_*"}, Withheld: []string{"MY_CALLER"},
		DeviceEnv: func(p *messages.Placement) []string { return []string{"CUDA_VISIBLE_DEVICES=uuid-of-" + p.Gpu()} },
	})
	spec := fakeSpec()
	spec.Env = []string{"A=${env.WHERE} ${MODEL_ID}", "WHERE=there", "NAMED_TOKEN", "ABSENT"}
	n := nonce(t)
	w, err := r.Start(t.Context(), spec, &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/gpu0"}}}, n)
	if err != nil {
		t.Fatal(err)
	}
	defer stopped(t, r, spec, w)
	if _, _, err := r.AwaitReady(t.Context(), spec, w); err != nil {
		t.Fatal(err)
	}
	env := process.NewEnvironment(strings.Split(string(r.ask(t.Context(), spec, w, "/env").body), "\n"))
	want := process.Environment{
		"A": "here fake", "WHERE": "there", "CUDA_VISIBLE_DEVICES": "uuid-of-gpu/h/gpu0",
		"MODELOPS_NONCE": n, modelVar: "fake", "MODELOPS_LOG": w.LogPath, urlVar: w.Url, "MODELOPS_API_KEY": "",
		"NAMED_TOKEN": "named", "ALICE_KEY": "", "HF_TOKEN": "", "LLAMA_API_KEY": "", "DOCKER_PASS": "", "OLLAMA_AUTH": "", "MY_CALLER": "", "MY_OTHER": "passed", "MODELOPS_SERVER": "", "HF_HOME": "/hf", "CUDA_HOME": "/cuda", "NOBODY": "",
	}
	if _, set := env["ABSENT"]; set {
		t.Error("a variable that modelops doesn't have is passed on")
	}
	for name, value := range want {
		if env[name] != value {
			t.Errorf("%s is %q, want %q", name, env[name], value)
		}
	}
}
