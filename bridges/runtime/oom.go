package runtime

import (
	"errors"
	"strings"

	"modelops/bridges/process"
)

// OutOfMemoryError is the cause of a failure by lack of memory, of the device or of the machine.
type OutOfMemoryError struct {
	Line  string // what the engine said, or how it ended
	Cause error  // an *ExitError when the worker ended
}

func (e *OutOfMemoryError) Error() string { return "out of memory: " + e.Line }
func (e *OutOfMemoryError) Unwrap() error { return e.Cause }

// OutOfMemory tells whether err came from lack of memory: the same load in the same place would fail again.
func OutOfMemory(err error) bool {
	var oom *OutOfMemoryError
	return errors.As(err, &oom)
}

// outOfMemory tells whether a worker ended by lack of memory, and the line that shows it. A worker that something else sent
// SIGKILL looks the same.
func (k kind) outOfMemory(e process.Exit) (line string, ok bool) {
	for i := len(e.LogTail) - 1; i >= 0; i-- {
		if k.saysOutOfMemory(e.LogTail[i]) {
			return clip(strings.TrimSpace(e.LogTail[i])), true
		}
	}
	if e.Code == process.Killed {
		return e.Reason, true
	}
	return "", false
}

// outOfMemoryWords are common to all engines, in small letters: CUDA, ROCm, Vulkan and Metal allocators, C++, Python, the
// kernel and Go.
var outOfMemoryWords = []string{
	"out of memory", "outofmemory", "error_out_of_memory", "out_of_device_memory", "out of device memory",
	"std::bad_alloc", "cannot allocate memory", "memoryerror", "not enough memory", "cudamalloc failed",
	"failed to allocate", "unable to allocate",
}

func (k kind) saysOutOfMemory(text string) bool {
	text = strings.ToLower(text)
	for _, words := range [][]string{outOfMemoryWords, k.oom} {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
	}
	return false
}
