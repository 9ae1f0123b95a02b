//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// finding is one line of the table of budgets.
type finding struct {
	what, budget, measured string
	met                    bool
	note                   string // how it was measured, where that isn't evident
}

// findings collects what the measurements found.
type findings struct {
	began   time.Time
	machine string
	lines   []finding
}

func newFindings() *findings { return &findings{began: time.Now(), machine: machine()} }

func (f *findings) add(l finding) { f.lines = append(f.lines, l) }

// machine says where and when, and how busy the machine was with other things.
func machine() string {
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	load, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%s; %d cores (%s); %s; Linux %s; load average at the start %s",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), processor(), runtime.Version(), unix.ByteSliceToString(uts.Release[:]), first)
}

func processor() string {
	raw, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// table is what is printed and what goes into docs/benchmarks.md.
func (f *findings) table(command string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` on %s; it took %s.\n\n", command, f.machine, time.Since(f.began).Round(time.Second))
	b.WriteString("| what | budget | measured | met | how |\n| --- | --- | --- | --- | --- |\n")
	for _, l := range f.lines {
		met := "**no**"
		if l.met {
			met = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", l.what, l.budget, l.measured, met, l.note)
	}
	return b.String()
}

// publish replaces the section between <!-- name --> and <!-- /name --> in docs/benchmarks.md.
func publish(t *testing.T, name, section string) {
	t.Helper()
	path := filepath.Join(root, "docs", "benchmarks.md")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	from, to := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, begins := strings.Cut(string(raw), from)
	_, after, ends := strings.Cut(rest, to)
	if !begins || !ends {
		t.Fatalf("%s has no section between %q and %q", path, from, to)
	}
	if err := os.WriteFile(path, []byte(before+from+section+to+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// quantile of values in any order; it sorts them.
func quantile[T int64 | float64 | time.Duration](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

func median[T int64 | float64 | time.Duration](values []T) T {
	return quantile(slices.Clone(values), 0.5)
}

// ms shows a duration in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }

// added shows a difference in milliseconds.
func added(d time.Duration) string { return fmt.Sprintf("%+.3f ms", d.Seconds()*1000) }
