package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
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
	l := Logs{t.TempDir()}
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	var paths []string
	for i := range 5 {
		path := l.Path("org/model:1", fmt.Sprint("n", i), at.Add(time.Duration(i)*time.Microsecond))
		f, err := openLog(path)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		paths = append(paths, path)
	}
	if got := logsIn(l.folder("org/model:1")); !slices.Equal(got, paths[2:]) {
		t.Errorf("%q, want %q", got, paths[2:])
	}
	if l.Newest("org/model:1") != paths[4] || l.Newest("other") != "" {
		t.Error("the newest log isn't found")
	}
	if !filepath.IsAbs(Logs{"relative"}.Path("m", "n", at)) {
		t.Error("a relative path means another file once the working directory changes")
	}
}

// Whatever a name holds, its logs lie in one folder directly below the root, and two names don't share one.
func TestNamesStayBelowTheRoot(t *testing.T) {
	l := Logs{"/logs"}
	rapid.Check(t, func(t *rapid.T) {
		name, other := rapid.StringN(1, -1, -1).Draw(t, "name"), rapid.StringN(1, -1, -1).Draw(t, "other")
		path := l.Path(name, rapid.StringN(1, -1, -1).Draw(t, "nonce"), time.Unix(0, 0))
		if filepath.Dir(filepath.Dir(path)) != "/logs" || filepath.Dir(path) != l.folder(name) || filepath.Ext(path) != ".log" {
			t.Fatalf("%q is at %q", name, path)
		}
		if name != other && l.folder(name) == l.folder(other) {
			t.Fatalf("%q and %q share a folder", name, other)
		}
	})
	if got := l.folder("../../etc/x"); strings.Contains(got, "..") {
		t.Errorf("a name leads out of the folder: %q", got)
	}
}

// A log that has outgrown its limit keeps its last part, a quarter of the limit and 1 MiB at most.
func TestKeepBelow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, 5000).Draw(t, "size")
		limit := rapid.IntRange(1, 5000).Draw(t, "limit")
		whole := make([]byte, size)
		for i := range whole {
			whole[i] = byte(i % 251)
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
		keepBelow(path, int64(limit))
		left, err := os.ReadFile(path)
		if err != nil || len(left) > limit || !bytes.HasSuffix(whole, left) {
			t.Fatalf("%d bytes with limit %d became %d: %v", size, limit, len(left), err)
		}
		if want := min(size, limit/4); size > limit && len(left) != want || size <= limit && len(left) != size {
			t.Fatalf("%d bytes with limit %d became %d", size, limit, len(left))
		}
	})
	keepBelow(path+"-not-there", 1)
}

// A log is read from its end and then on: what is added, also behind a cut, and the log of the next process, without a line twice and without one that isn't
// whole yet.
func TestReadGoesOnWhereAPartEnds(t *testing.T) {
	l := Logs{t.TempDir()}
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	open := func(nonce string) *os.File {
		at = at.Add(time.Second)
		f, err := openLog(l.Path("m", nonce, at))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	after := ""
	reads := func(n int, unfinished string, lines ...string) {
		t.Helper()
		p, err := l.Read("m", after, n)
		if err != nil || !slices.Equal(p.Lines, lines) || p.Unfinished != unfinished {
			t.Fatalf("%+v, %v, want %q %q", p, err, lines, unfinished)
		}
		after = p.Next
	}
	reads(9, "")
	first := open("a")
	fmt.Fprint(first, "one\ntwo\r\nthree\nfo")
	reads(2, "fo", "two", "three")
	reads(2, "fo")
	fmt.Fprint(first, "ur\n", strings.Repeat("y", lineBytes+1), "\n")
	reads(0, "", "four", strings.Repeat("y", lineBytes)+"...")
	keepBelow(first.Name(), 40)
	fmt.Fprintln(first, "five")
	if p, err := l.Read("m", after, 0); err != nil || p.Lines[len(p.Lines)-1] != "five" {
		t.Fatalf("%+v, %v", p, err)
	} else {
		after = p.Next
	}
	fmt.Fprint(first, strings.Repeat("z", tailBytes))
	reads(0, "", strings.Repeat("z", lineBytes)+"...") // a page is bounded, also where no line ends
	fmt.Fprint(first, "last words")
	second := open("b")
	fmt.Fprintln(second, "hello")
	reads(0, "", "last words")
	reads(0, "", "hello")
	for _, nonce := range []string{"c", "d", "e"} {
		fmt.Fprintln(open(nonce), nonce)
	}
	for _, nonce := range []string{"c", "d", "e"} {
		reads(0, "", nonce)
	}
	reads(0, "")
	after = "dropped.log@9"
	reads(0, "", "e")
	for _, wrong := range []string{"x", "@1", "x@-1", "x@y"} {
		if _, err := l.Read("m", wrong, 1); err == nil {
			t.Errorf("%q is taken for a place in a log", wrong)
		}
	}
	if p, err := l.Read("m", "../secret.log@0", 1); err != nil || p.Log != filepath.Base(l.Newest("m")) {
		t.Errorf("%+v, %v", p, err)
	}
}

// A name that the configuration takes has a log, whatever its letters escape to.
func TestLogOfALongName(t *testing.T) {
	l := Logs{Root: t.TempDir()}
	seen := map[string]bool{}
	for _, name := range []string{strings.Repeat("x", 256), strings.Repeat("x", 255) + "y", strings.Repeat("名", 85), strings.Repeat("名", 84) + "前"} {
		path := l.Path(name, "nonce", time.Unix(0, 0))
		f, err := openLog(path)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if l.Newest(name) != path || seen[filepath.Dir(path)] {
			t.Errorf("%s: %s", name, l.Newest(name))
		}
		seen[filepath.Dir(path)] = true
	}
}
