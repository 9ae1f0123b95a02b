package runtime

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"modelops/bridges/process"
	"modelops/messages"
)

// What the operator said about devices, in a model's env and arguments and in the daemon's environment, and where the model may be placed.
func TestWishes(t *testing.T) {
	for _, c := range []struct {
		daemon, env, args string
		shards            uint32
		want              string // kinds, devices and shards, or words of the refusal
	}{
		{"", "", "", 1, "[] [] 0"},
		{"", "CUDA_VISIBLE_DEVICES=1", "", 1, "[cuda unified simulated] [gpu1] 0"},
		{"", "CUDA_VISIBLE_DEVICES=GPU-abc", "", 1, "[cuda unified simulated] [GPU-abc] 0"},
		{"", "CUDA_VISIBLE_DEVICES=0,2", "", 1, "[cuda unified simulated] [gpu0 gpu2] 2"},
		{"", "CUDA_VISIBLE_DEVICES=0,1,2", "", 2, "[cuda unified simulated] [gpu0 gpu1 gpu2] 0"},
		{"", "CUDA_VISIBLE_DEVICES=0,-1,1", "", 1, "[cuda unified simulated] [gpu0] 0"},
		{"", "CUDA_VISIBLE_DEVICES=", "", 1, "[simulated cpu] [] 0"},
		{"", "CUDA_VISIBLE_DEVICES=0,0", "", 1, "names gpu0 twice"},
		{"", "CUDA_VISIBLE_DEVICES=-1", "", 1, "[simulated cpu] [] 0"},
		{"", "HIP_VISIBLE_DEVICES=1", "", 1, "[rocm simulated] [amd1] 0"},
		{"", "ONEAPI_DEVICE_SELECTOR=level_zero:1", "", 1, "[oneapi simulated] [intel1] 0"},
		{"", "ONEAPI_DEVICE_SELECTOR=*:*", "", 1, "[] [] 0"},
		{"", "ZE_AFFINITY_MASK=0.1", "", 1, "[oneapi simulated] [intel0] 0"},
		{"", "CUDA_VISIBLE_DEVICES= HIP_VISIBLE_DEVICES=0", "", 1, "[rocm simulated] [amd0] 0"},
		{"", "", "-dev CUDA1", 1, "[] [gpu1] 0"},
		{"", "", "--device CUDA0,CUDA1", 1, "[] [gpu0 gpu1] 2"},
		{"", "", "--device=ROCm1", 1, "[] [amd1] 0"},
		{"", "", "--device none", 1, "[cpu unified simulated] [] 0"},
		{"", "", "--device cuda", 1, "[] [] 0"},
		{"", "", "-dev Vulkan1", 1, "[] [] 0"},
		{"", "", "--main-gpu 1", 1, "[] [1] 0"},
		{"", "", "-mg 1", 2, "[] [] 0"},
		{"", "", "-mg 2", 2, "--main-gpu 2, and it is split over 2 devices"},
		{"", "LLAMA_ARG_MAIN_GPU=2", "", 2, "--main-gpu 2, and it is split over 2 devices"},
		{"", "", "-dev CUDA2,CUDA3 -mg 1", 1, "[] [gpu2 gpu3] 2"},
		{"", "", "-dev CUDA2,CUDA3 -mg 2", 1, "split over 2 devices"},
		{"", "CUDA_VISIBLE_DEVICES=1,3", "--main-gpu=1", 1, "[cuda unified simulated] [gpu1 gpu3] 2"},
		{"", "CUDA_VISIBLE_DEVICES=1,3", "--main-gpu=1 -sm none", 1, "[cuda unified simulated] [gpu3] 0"},
		{"", "CUDA_VISIBLE_DEVICES=0,1,2", "--main-gpu 2", 2, "split over 2 devices"},
		{"", "LLAMA_ARG_MAIN_GPU=1", "", 1, "[] [1] 0"},
		{"CUDA_VISIBLE_DEVICES=1", "", "-dev CUDA0", 1, "[] [gpu1] 0"},
		{"LLAMA_ARG_MAIN_GPU=1", "LLAMA_ARG_MAIN_GPU", "", 1, "[] [1] 0"},
		{"LLAMA_ARG_MAIN_GPU=1", "", "", 1, "[] [] 0"},
		{"", "LLAMA_ARG_MAIN_GPU", "", 1, "[] [] 0"},
		{"CUDA_VISIBLE_DEVICES=3,1", "", "--main-gpu 1", 1, "[] [gpu1] 0"},
		{"", "CUDA_VISIBLE_DEVICES=1", "-dev CUDA0", 1, "[cuda unified simulated] [gpu1] 0"},
		{"CUDA_VISIBLE_DEVICES=1", "CUDA_VISIBLE_DEVICES=1", "", 1, "[cuda unified simulated] [gpu1] 0"},
		{"CUDA_VISIBLE_DEVICES=1", "CUDA_VISIBLE_DEVICES=0", "", 1, "doesn't exist for the daemon"},
		{"CUDA_VISIBLE_DEVICES=1", "", "-dev CUDA1", 1, "CUDA_VISIBLE_DEVICES=1 leaves 1"},
		{"", "CUDA_VISIBLE_DEVICES=1", "-dev CUDA1", 1, "CUDA_VISIBLE_DEVICES=1 leaves 1"},
		{"", "CUDA_VISIBLE_DEVICES=", "-dev CUDA0", 1, "leaves 0"},
		{"", "CUDA_VISIBLE_DEVICES=0", "", 2, "shards: 2, and it may use gpu0 only"},
		{"", "CUDA_VISIBLE_DEVICES=0", "-dev ROCm0", 1, "the arguments name amd0, and env leaves gpu0"},
	} {
		r := New(Options{Env: append([]string{"HOME=/"}, strings.Fields(c.daemon)...)})
		for _, spec := range []*messages.ModelSpec{
			{Name: "m", Runtime: "llama.cpp", Args: strings.Fields(c.args)}, {Name: "m", Runtime: "command", Cmd: "llama-server " + c.args},
		} {
			spec.Env, spec.Shards = nil, c.shards
			for _, pair := range strings.Split(c.env, " ") {
				if pair != "" {
					spec.Env = append(spec.Env, pair)
				}
			}
			w, err := r.wishOf(spec)
			got := fmt.Sprint(w.kinds, w.devices, w.shards)
			got = strings.ReplaceAll(got, "][", "] [")
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(strings.ReplaceAll(got, "]0", "] 0"), c.want) {
				t.Errorf("daemon %q, env %q, %q, %d shards: %s, want %s", c.daemon, c.env, c.args, c.shards, got, c.want)
			}
		}
	}
}

// The worker sees what it was placed on, and its arguments count in that.
func TestWorkersSeeWhatTheyWerePlacedOn(t *testing.T) {
	r := New(Options{Env: []string{"HOME=/"}, DeviceEnv: func(p *messages.Placement) []string {
		var uuids []string
		for _, s := range p.Shares {
			uuids = append(uuids, "UUID-"+s.Gpu)
		}
		return []string{"CUDA_VISIBLE_DEVICES=" + strings.Join(uuids, ",")}
	}})
	placed := func(gpus ...string) *messages.Placement {
		p := &messages.Placement{}
		for _, g := range gpus {
			p.Shares = append(p.Shares, &messages.Share{Gpu: g})
		}
		return p
	}
	for _, c := range []struct {
		env, args string
		on        *messages.Placement
		sees      string
		argv      string
	}{
		{"", "", placed("b"), "UUID-b", ""},
		{"CUDA_VISIBLE_DEVICES=1", "", placed("b"), "1 PCI_BUS_ID", ""},
		{"CUDA_VISIBLE_DEVICES=1,0", "", placed("a", "b"), "1,0 PCI_BUS_ID", ""},
		{"CUDA_VISIBLE_DEVICES=0,1,2", "", placed("a", "b"), "UUID-a,UUID-b", ""},
		{"CUDA_VISIBLE_DEVICES=GPU-0", "", placed("b"), "UUID-b", ""},
		{"CUDA_VISIBLE_DEVICES=gpu1", "", placed("b"), "UUID-b", ""},
		{"CUDA_VISIBLE_DEVICES=gpu1,gpu0", "", placed("a", "b"), "UUID-a,UUID-b", ""},
		{"CUDA_VISIBLE_DEVICES=1,GPU-0", "", placed("a", "b"), "1,GPU-0 PCI_BUS_ID", ""},
		{"", "-dev CUDA1", placed("b"), "UUID-b", "-dev CUDA0"},
		{"", "--device=CUDA1,CUDA3", placed("b", "d"), "UUID-b,UUID-d", "--device=CUDA0,CUDA1"},
		{"", "--main-gpu 1 -c 4", placed("b"), "UUID-b", "--main-gpu 0 -c 4"},
		{"", "-dev CUDA2,CUDA3 -mg 1", placed("b", "d"), "UUID-b,UUID-d", "-dev CUDA0,CUDA1 -mg 1"},
		{"", "-dev CUDA1,CUDA2,CUDA3", placed("b", "d"), "UUID-b,UUID-d", "-dev CUDA0,CUDA1"},
		{"", "-mg 1", placed("b", "d"), "UUID-b,UUID-d", "-mg 1"},
		{"CUDA_VISIBLE_DEVICES=1,0", "-dev CUDA1", placed("a"), "UUID-a", "-dev CUDA0"},
		{"", "--device none", placed("cpu"), "UUID-cpu", "--device none"},
	} {
		spec := &messages.ModelSpec{Name: "m", Runtime: "command", Cmd: "x", Args: strings.Fields(c.args), Env: strings.Fields(c.env), Shards: 1}
		if len(c.on.Shares) > 1 {
			spec.Shards = uint32(len(c.on.Shares))
		}
		l, err := r.plan(kind{name: "command"}, spec, c.on, "nonce", fit{})
		if err != nil {
			t.Fatal(err)
		}
		seen := process.NewEnvironment(l.spec.Env)
		if got := strings.TrimSpace(seen["CUDA_VISIBLE_DEVICES"] + " " + seen["CUDA_DEVICE_ORDER"]); got != c.sees {
			t.Errorf("env %q, %q: it sees %q, want %q", c.env, c.args, got, c.sees)
		}
		if got := strings.Join(l.spec.Argv[1:], " "); got != c.argv {
			t.Errorf("env %q, %q: its arguments are %q, want %q", c.env, c.args, got, c.argv)
		}
	}
}

// An embedding model's batch takes an input as long as the context.
func TestBatchOfEmbeddings(t *testing.T) {
	tiny := modelFile(t) // trained for 256 tokens
	r := New(Options{LlamaServer: "llama-server", Slots: 2})
	k := kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == "llama.cpp" })]
	for args, want := range map[string]uint32{"": 0, "--embeddings": 0, "--embeddings -ub 64": 0} {
		spec := &messages.ModelSpec{Name: "m", Runtime: "llama.cpp", Path: tiny, Args: strings.Fields(args)}
		if got := r.batchFor(t.Context(), k, spec); got != want {
			t.Errorf("%q: %d, want %d", args, got, want)
		}
	}
	u := run{slots: 4, cap: 4096}
	for trained, want := range map[uint64]uint64{256: 0, 512: 0, 2048: 2048, 8192: 4096} {
		if got := u.wholeBatch(trained); got != want {
			t.Errorf("trained for %d: %d, want %d", trained, got, want)
		}
	}
	if u.own = true; u.wholeBatch(8192) != 8192 {
		t.Errorf("-c 0: %d", u.wholeBatch(8192))
	}
	l, err := r.plan(k, &messages.ModelSpec{Name: "m", Path: tiny}, nil, "nonce", fit{context: 1024, batch: 1024})
	if err != nil || !strings.Contains(strings.Join(l.spec.Argv, " "), "--batch-size 2048 --ubatch-size 1024") {
		t.Errorf("%v %v", l, err)
	}
}
