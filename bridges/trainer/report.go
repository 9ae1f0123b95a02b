package trainer

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
)

// report is a JSON line of a trainer. Fields that it doesn't know are passed over.
type report struct {
	Event string `json:"event"`
	// Step and Total count whatever the trainer counts.
	Step  *float64 `json:"step"`
	Total *float64 `json:"total"`
	Loss  *float64 `json:"loss"`
	// ETA is what is left, in seconds.
	ETA     *float64           `json:"eta_s"`
	Metrics map[string]float64 `json:"metrics"`
	// Of a checkpoint and an artifact. Artifact is another way to write one, in done.
	Path     string    `json:"path"`
	SHA256   string    `json:"sha256"`
	Bytes    uint64    `json:"bytes"`
	Artifact *artifact `json:"artifact"`
	// Of an error.
	Message   string `json:"message"`
	Retriable *bool  `json:"retriable"`
	OOM       bool   `json:"out_of_memory"`
	Reason    string `json:"reason"`
}

type artifact struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Bytes  uint64 `json:"bytes"`
}

// alsoMetrics are figures that stand beside metrics in a line.
var alsoMetrics = []string{"loss", "eval_loss", "exact", "lr", "tok_s", "perplexity", "accuracy", "reward"}

// parseReport reads a line; ok is false for a line that is no report. Old and foreign words are understood: "of" for total, "error" for message.
func parseReport(line []byte) (r report, ok bool) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &r) != nil || r.Event == "" {
		return report{}, false
	}
	var also map[string]json.RawMessage
	if json.Unmarshal(line, &also) != nil {
		return report{}, false
	}
	figure := func(name string) *float64 {
		var f float64
		if raw, there := also[name]; !there || json.Unmarshal(raw, &f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil
		}
		return &f
	}
	for _, name := range alsoMetrics {
		if f := figure(name); f != nil {
			if r.Metrics == nil {
				r.Metrics = map[string]float64{}
			}
			if _, there := r.Metrics[name]; !there {
				r.Metrics[name] = *f
			}
		}
	}
	for _, name := range []string{"of", "steps"} {
		if r.Total == nil {
			r.Total = figure(name)
		}
	}
	if r.Message == "" {
		_ = json.Unmarshal(also["error"], &r.Message)
	}
	return r, true
}

// mostSteps is the largest step that is believed: a float64 counts exactly up to it.
const mostSteps = 1 << 53

// count is a step or a total; false when the trainer can't mean it.
func count(f *float64) (uint64, bool) {
	if f == nil || *f < 0 || *f > mostSteps || *f != math.Trunc(*f) {
		return 0, false
	}
	return uint64(*f), true
}

// outOfMemoryWords are what allocators of devices and machines say, in small letters.
var outOfMemoryWords = []string{"out of memory", "outofmemory", "out_of_memory", "out of device memory", "std::bad_alloc", "cannot allocate memory", "memoryerror", "cudamalloc failed"}

func saysOutOfMemory(text string) bool {
	text = strings.ToLower(text)
	for _, w := range outOfMemoryWords {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
