package messages

import (
	"testing"
)

// A model's name may hold slashes: what stands where a host could stand is a host only when one is known by that name.
func TestActorNamed(t *testing.T) {
	for in, want := range map[string]string{"model/tiny": "model/pc/tiny", "model/org/x": "model/pc/org/x", "model/pc/org/x": "model/pc/org/x", "model/pc2/org/x": "model/pc2/org/x",
		"model/pc2": "model/pc/pc2", "model/*/tiny": "model/*/tiny", "gpu/cpu": "gpu/pc/cpu", "gpu/pc2/cpu": "gpu/pc2/cpu", "host": "host/pc", "host/pc2": "host/pc2", "arbiter": "arbiter",
		"gateway/pc": "gateway/pc", "/model/org/x/": "model/pc/org/x", "model": "", "model/": "", "model//x": "", "model/pc": "", "modle/x": "", "": ""} {
		id, err := ActorNamed(in, "pc", func(host string) bool { return host == "pc" || host == "pc2" })
		if (want == "") != (err != nil) || err == nil && id.String() != want {
			t.Errorf("%q: got %s %v, want %q", in, id, err, want)
		}
	}
}

func TestParseActorID(t *testing.T) {
	for _, c := range []struct {
		in, want, refusal string
		host, name        string
	}{
		{in: "host/main_pc", want: "host/main_pc", host: "main_pc"},
		{in: "gpu/main_pc/cpu", want: "gpu/main_pc/cpu", host: "main_pc", name: "cpu"},
		{in: "model/main_pc/org/x:8b.q4", want: "model/main_pc/org/x:8b.q4", host: "main_pc", name: "org/x:8b.q4"},
		{in: "/model/main_pc/tiny/", want: "model/main_pc/tiny", host: "main_pc", name: "tiny"},
		{in: "arbiter", want: "arbiter"},
		{in: "gateway/main_pc", want: "gateway/main_pc", host: "main_pc"},
		{in: "", refusal: `"" is no kind of actor (the kinds are arbiter, gateway, goal, gpu, host, job, lineage, model)`},
		{in: "modle/main_pc/tiny", refusal: `modle/main_pc/tiny: "modle" is no kind of actor (the kinds are arbiter, gateway, goal, gpu, host, job, lineage, model)`},
		{in: "host", refusal: "host: the actor has no identity (write host/ID, such as host/main_pc)"},
		{in: "model/tiny", refusal: "model/tiny: the host is missing (write model/HOST/NAME, such as model/main_pc/tiny)"},
		{in: "gpu//cpu", refusal: "gpu//cpu: the host is missing (write gpu/HOST/NAME, such as gpu/main_pc/gpu0)"},
	} {
		id, err := ParseActorID(c.in)
		if c.refusal != "" {
			if err == nil || err.Error() != c.refusal || CodeOf(err) != InvalidArgument {
				t.Errorf("%q: got %v, %v; want the refusal %q", c.in, id, err, c.refusal)
			}
			continue
		}
		if err != nil || id.String() != c.want || id.Host() != c.host || id.Name() != c.name {
			t.Errorf("%q: got %q host %q name %q, %v", c.in, id, id.Host(), id.Name(), err)
		}
	}
}

// What is accepted names exactly one actor: it is written as it was read, and a device or a model has a host and a name.
func FuzzParseActorID(f *testing.F) {
	for _, s := range []string{"host/main_pc", "gpu/main_pc/cpu", "model/main_pc/a/b:c", "arbiter", "gateway/x", "model//x", "gpu/a//", "//", "host/ "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseActorID(s)
		if err != nil {
			if CodeOf(err) != InvalidArgument {
				t.Fatalf("%q: refused with %s", s, CodeOf(err))
			}
			return
		}
		again, err := ParseActorID(id.String())
		if err != nil || again != id {
			t.Fatalf("%q was read as %+v, which is read as %+v, %v", s, id, again, err)
		}
		if (id.Kind == KindGPU || id.Kind == KindModel) && (id.Host() == "" || id.Name() == "") {
			t.Fatalf("%q: host %q, name %q", s, id.Host(), id.Name())
		}
	})
}

func TestFormatBytes(t *testing.T) {
	for b, want := range map[uint64]string{0: "0 KiB", 1: "1 KiB", MiB - 1: "1024 KiB", MiB: "1 MiB", MiB + 1: "2 MiB",
		10*GiB - 1: "10240 MiB", 10 * GiB: "10.0 GiB", 24*GiB + GiB/2: "24.5 GiB"} {
		if got := FormatBytes(b); got != want {
			t.Errorf("%d bytes read as %q, want %q", b, got, want)
		}
	}
}

func TestReplicaNames(t *testing.T) {
	for name, want := range map[string]string{"chat~2": "chat", "a~b~12": "a~b", "chat": "", "chat~": "", "chat~1": "", "chat~02": "", "chat~x": "", "~2": "", "chat~+2": ""} {
		base, ok := ReplicaOf(name)
		if base != want || ok != (want != "") {
			t.Errorf("%s is a replica of %q, %t", name, base, ok)
		}
	}
	if base, ok := ReplicaOf(ReplicaName("qwen3:8b", 3)); !ok || base != "qwen3:8b" {
		t.Errorf("%q, %t", base, ok)
	}
}
