package train

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// NoMemoryError is a machine that has less memory available than a run needs.
type NoMemoryError struct{ Need, Available int64 }

func (e *NoMemoryError) Error() string {
	return fmt.Sprintf("training needs %d MiB of memory beside the model, and %d MiB are available", e.Need>>20, e.Available>>20)
}

// memoryNeed is what training takes beside the weights, in bytes: gradients and two moments, or of adapters the gradients of the
// matrices and these as they were. What a pass holds comes on top; it is bounded by tokensAtOnce.
func memoryNeed(n *network[float32], rank int, targets []string) (bytes int64) {
	for _, t := range n.tensors {
		switch {
		case rank == 0:
			bytes += 12 * int64(len(t.w))
		case adapted(t.name, targets):
			bytes += 8*int64(len(t.w)) + 16*int64(rank)*int64(t.rows+t.cols)
		}
	}
	perToken := 8*n.shape.Width + 3*n.shape.FFN + 2*(n.shape.Heads+n.shape.KV)*n.shape.HeadSize
	return bytes + 4*tokensAtOnce*int64(perToken)*int64(n.shape.Layers) + 4*logitValues
}

// enoughMemory refuses a run that would make the kernel end processes, perhaps others than this one.
func enoughMemory(need int64, meminfo io.Reader) error {
	lines := bufio.NewScanner(meminfo)
	for lines.Scan() {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); n == 1 && kib<<10 < need {
			return &NoMemoryError{need, kib << 10}
		}
	}
	return nil // the kernel doesn't say
}

// memory checks this machine's.
func memory(need int64) error {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	return enoughMemory(need, f)
}
