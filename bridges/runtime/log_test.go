package runtime

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"modelops/messages"
)

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		text string
		n    int
		want []string
	}{
		{"", 3, nil},
		{"a\nb\nc\n", 2, []string{"b", "c"}},
		{"a\r\nb", 9, []string{"a", "b"}},
		{"a\xff\n", 9, []string{"a?"}},
		{"\n\nx\n", 2, []string{"", "x"}},
		{strings.Repeat("y", lineBytes+1), 1, []string{strings.Repeat("y", lineBytes) + "..."}},
		{strings.Repeat("z", tailBytes) + "\nlast\n", 5, []string{"last"}},
	}
	for _, c := range tests {
		write(c.text)
		if got := Tail(path, c.n); !slices.Equal(got, c.want) {
			t.Errorf("%.20q: %.60q, want %.60q", c.text, got, c.want)
		}
	}
	if got := Tail(path+"-not-there", 3); got != nil {
		t.Error(got)
	}
}

func TestLogsAreKeptForThreeStarts(t *testing.T) {
	r := New(Options{LogDir: t.TempDir()})
	var paths []string
	for i := range 5 {
		f, err := r.openLog("org/model:1", fmt.Sprint("n", i))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		paths = append(paths, f.Name())
	}
	if got := r.logs("org/model:1"); !slices.Equal(got, paths[2:]) {
		t.Errorf("%q, want %q", got, paths[2:])
	}
	if r.LogPath("org/model:1") != paths[4] || r.LogPath("other") != "" {
		t.Error("the newest log isn't found")
	}
	if rel, err := filepath.Rel(r.o.LogDir, r.logFolder("../../etc/x")); err != nil || strings.Contains(rel, "..") {
		t.Errorf("a model's name leads out of the folder: %q", rel)
	}
}

func TestFollowSeesWhatIsAddedAndCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintln(f, strings.Repeat("first ", 20))
	ctx, cancel := context.WithCancel(t.Context())
	var seen lockedBuffer
	done := make(chan error, 1)
	go func() { done <- Follow(ctx, path, &seen) }()
	eventually(t, "the first line", func() bool { return strings.Contains(seen.String(), "first") })
	fmt.Fprintln(f, "second")
	eventually(t, "the second line", func() bool { return strings.Contains(seen.String(), "second\n") })
	keepBelow(path, 40)
	fmt.Fprintln(f, "third")
	eventually(t, "the line after the cut", func() bool { return strings.Contains(seen.String(), "third\n") })
	cancel()
	if err := <-done; err != context.Canceled {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); len(b) > 40 || !bytes.HasSuffix(b, []byte("second\nthird\n")) {
		t.Errorf("%q", b)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWorkersEnvironment(t *testing.T) {
	r := New(Options{
		LogDir: t.TempDir(), Env: newEnviron("FAKE=serve:fake", "MODELOPS_API_KEY=secret", "WHERE=here"),
		DeviceEnv: func(p *messages.Placement) []string { return []string{"CUDA_VISIBLE_DEVICES=uuid-of-" + p.Gpu} },
	})
	spec := fakeSpec()
	spec.Env = []string{"A=${env.WHERE} ${MODEL_ID}", "WHERE=there"}
	n := nonce(t)
	w, err := r.Start(t.Context(), spec, &messages.Placement{Gpu: "gpu/h/gpu0"}, n)
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
		nonceVar: n, modelVar: "fake", logVar: w.LogPath, urlVar: w.Url, "MODELOPS_API_KEY": "",
	}
	for name, value := range want {
		if env[name] != value {
			t.Errorf("%s is %q, want %q", name, env[name], value)
		}
	}
}
