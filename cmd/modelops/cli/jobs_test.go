package cli

import (
	"strings"
	"testing"

	"modelops/messages"
)

func TestSparkline(t *testing.T) {
	for want, values := range map[string][]float64{"": nil, "▁": {5}, "▁▁": {5, 5}, "▁█": {1, 2}, "█▁": {2, -2}, "▁▄█": {0, 0, 1, 1, 2, 2}} {
		if got := sparkline(values, 3); got != want {
			t.Errorf("%v is drawn as %q, want %q", values, got, want)
		}
	}
	long := make([]float64, 1000)
	for i := range long {
		long[i] = float64(i)
	}
	if got := []rune(sparkline(long, curveWidth)); len(got) != curveWidth || got[0] != '▁' || got[curveWidth-1] != '█' {
		t.Errorf("%q", string(got))
	}
}

// TestWrongJobSubmissions are refused before a daemon is asked.
func TestWrongJobSubmissions(t *testing.T) {
	for line, want := range map[string]string{"--param steps": "has no name with =", "--param =1": "has no name with =", "--param a=1 --param a=2": "given twice", "--vram much": "is no size"} {
		c, _, errs := replying(t, nil)
		if code := c.run(append([]string{"jobs", "submit", "--recipe", "lora"}, strings.Fields(line)...)...); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: exit %d, %s", line, code, errs)
		}
	}
}

// TestWaitForAJob ends with how the job ended.
func TestWaitForAJob(t *testing.T) {
	for phase, want := range map[string]int{"completed": exitOK, "failed": exitNo, "cancelled": exitNo} {
		c, _, errs := replying(t, map[string]string{"jobs.get": `{"job_id": "lora-1", "phase": "` + phase + `", "ended_ms": "1", "error_message": "no rows"}`})
		for _, line := range [][]string{{"jobs", "submit", "--recipe", "lora", "--wait"}, {"jobs", "watch", "lora-1"}} {
			errs.Reset()
			if code := c.run(line...); code != want || want != exitOK && !strings.Contains(errs.String(), "no rows") {
				t.Errorf("%s of a job that is %s: exit %d, %s", line[1], phase, code, errs)
			}
		}
	}
}

// TestWhereAJobIs: its devices, what it waits for, or why it ended.
func TestWhereAJobIs(t *testing.T) {
	for want, j := range map[string]*messages.LearningJob{
		"gpu0,gpu1": {Gpus: []string{"gpu/h/gpu0", "gpu/h/gpu1"}}, "waits for memory, place 3": {WaitsFor: "memory", Place: 3}, "lunch": {Reason: "lunch"}, "": {},
	} {
		if got := where(j); got != want {
			t.Errorf("%v is shown as %q", j, got)
		}
	}
}
