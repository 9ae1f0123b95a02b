package trainer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"modelops/bridges/process"
	"modelops/messages"
)

func TestExpandLeavesOutWhatIsEmpty(t *testing.T) {
	m := process.Macros{Values: map[string]string{"A": "a", "EMPTY": ""}, Env: process.Environment{"V": ""}}
	for in, want := range map[string]string{
		"train --data ${A} --eval ${EMPTY} --x": "train --data a --x",
		"train ${EMPTY} ${A}":                   "train a",
		"train --eval=${EMPTY} --y=${A}":        "train --y=a",
		"train --eval= ${EMPTY}":                "train --eval=",
		"train x${EMPTY}":                       "train x",
		"train ${env.V}":                        "train ",
		"train --a ${EMPTY}${A}":                "train --a a",
	} {
		got, err := expand(strings.Split(in, " "), m)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q %v", in, got, err)
		}
	}
}

func TestSmallerSettingsWin(t *testing.T) {
	s := &messages.JobSpec{Parameters: map[string]string{"batch": "4"}, Recipe: &messages.Recipe{Parameters: map[string]string{"batch": "8", "lr": "1"}, Smaller: map[string]string{"batch": "1"}}}
	if got := settings(s, false); got["batch"] != "4" || got["lr"] != "1" {
		t.Error(got)
	}
	if got := settings(s, true); got["batch"] != "1" {
		t.Error(got)
	}
}

// Every line comes once, whole or cut.
func TestReadLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in bytes.Buffer
		var want []string
		for i := range rapid.IntRange(0, 6).Draw(t, "lines") {
			n := rapid.SampledFrom([]int{0, 1, 5, longestLine - 1, longestLine, longestLine + 1, 3*longestLine + 7}).Draw(t, fmt.Sprint("length ", i))
			line := strings.Repeat("x", n)
			want = append(want, fmt.Sprint(min(n, longestLine), n >= longestLine))
			in.WriteString(line + "\n")
		}
		var got []string
		if err := readLines(&in, func(line []byte, cut bool) { got = append(got, fmt.Sprint(len(line), cut)) }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatal(got, want)
		}
	})
}

// A curve stays below its bound, keeps its latest sample, and its numbers rise, also over several runners.
func TestCurve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	step := uint64(0)
	for range 3 {
		c, err := openCurve(path)
		if err != nil {
			t.Fatal(err)
		}
		c.most = 8 << 10
		for range 400 {
			step++
			if err := c.add(Sample{Step: step, Metrics: map[string]float64{"loss": 1 / float64(step)}}); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = c.file.WriteString(`{"n":99999,"unfin`) // a runner is killed in the middle of a line
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	samples, err := readSamples(f)
	if err != nil || len(samples) < 20 || samples[len(samples)-1].Step != step || samples[len(samples)-1].N != step {
		t.Fatal(len(samples), samples[len(samples)-1], err)
	}
	if !slices.IsSortedFunc(samples, func(a, b Sample) int { return int(a.N) - int(b.N) }) {
		t.Error("the numbers don't rise")
	}
	if st, _ := f.Stat(); st.Size() > 9<<10 {
		t.Error(st.Size())
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte(`{"event":"progress","step":1,"of":3,"loss":null,"metrics":{"a":1}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, ok := parseReport(line)
		if step, is := count(r.Step); ok && is && float64(step) != *r.Step {
			t.Error(step, *r.Step)
		}
	})
}

func TestEndOfAttachedRuns(t *testing.T) {
	for text, want := range map[string]string{
		"JobStatus.SUCCEEDED": "done true", "COMPLETED": "done true", "Complete": "done true", "FAILED": "broke true", "OUT_OF_MEMORY": "broke true", "CANCELLED+": "stopped true",
		"STOPPED": "stopped true", "RUNNING": "end_unknown false", "PENDING": "end_unknown false", "": "end_unknown false", "FAILED\nRUNNING": "end_unknown false", "incomplete": "end_unknown false",
	} {
		if end, over := endOf(text); fmt.Sprint(end, over) != want {
			t.Errorf("%q: %v %v", text, end, over)
		}
	}
}
