//go:build linux && cgo

package nvml

import (
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// explain puts an answer of the library in words. The library's own words are not used: asking for them is a call into
// it, at moments when none may be made.
func explain(r nvml.Return) string {
	if words, ok := answers[r]; ok {
		return words
	}
	return fmt.Sprintf("the driver answered with error %d", int32(r))
}

var answers = map[nvml.Return]string{
	nvml.ERROR_UNINITIALIZED:           "the library was shut down",
	nvml.ERROR_NOT_SUPPORTED:           "the device doesn't support it",
	nvml.ERROR_NO_PERMISSION:           "permission denied",
	nvml.ERROR_NOT_FOUND:               "not found",
	nvml.ERROR_DRIVER_NOT_LOADED:       "the NVIDIA kernel module isn't loaded",
	nvml.ERROR_TIMEOUT:                 "the driver didn't answer in time",
	nvml.ERROR_IRQ_ISSUE:               "the GPU's interrupts don't arrive",
	nvml.ERROR_LIBRARY_NOT_FOUND:       "the library libnvidia-ml.so.1 isn't there",
	nvml.ERROR_CORRUPTED_INFOROM:       "the GPU's InfoROM is corrupted",
	nvml.ERROR_GPU_IS_LOST:             "the GPU has fallen off the bus or doesn't answer",
	nvml.ERROR_RESET_REQUIRED:          "the GPU needs a reset",
	nvml.ERROR_OPERATING_SYSTEM:        "the system refused the driver's request",
	nvml.ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated and this process still has the old library; restart modelops",
	nvml.ERROR_MEMORY:                  "the driver is out of memory",
	nvml.ERROR_NOT_READY:               "the GPU isn't ready yet",
	nvml.ERROR_GPU_NOT_FOUND:           "no such GPU",
	nvml.ERROR_UNKNOWN:                 "the driver answered with an unknown error",
}

// driverGone says that no call will work until the library is opened again.
func driverGone(r nvml.Return) bool {
	switch r {
	case nvml.ERROR_UNINITIALIZED, nvml.ERROR_DRIVER_NOT_LOADED, nvml.ERROR_LIB_RM_VERSION_MISMATCH, nvml.ERROR_LIBRARY_NOT_FOUND:
		return true
	}
	return false
}

// deviceLost says that this device answers nothing until it is reset or found again.
func deviceLost(r nvml.Return) bool {
	switch r {
	case nvml.ERROR_GPU_IS_LOST, nvml.ERROR_RESET_REQUIRED, nvml.ERROR_GPU_NOT_FOUND:
		return true
	}
	return false
}

// xidWords says what the common Xid numbers mean and whether a program or the hardware is to blame.
var xidWords = map[uint64]string{
	13:  "a program's graphics engine exception",
	31:  "a program's GPU memory page fault",
	43:  "a program's work on the GPU was stopped after a fault",
	45:  "work was cleaned up after an earlier fault",
	48:  "double-bit ECC error",
	61:  "the GPU's microcontroller broke down",
	62:  "the GPU's microcontroller halted",
	63:  "a memory row or page was retired",
	64:  "retiring a memory row or page failed",
	68:  "video decoder exception",
	69:  "a program's graphics engine class error",
	74:  "NVLink error",
	79:  "the GPU has fallen off the bus",
	92:  "many single-bit ECC errors",
	94:  "contained ECC error: the program that met it has to restart",
	95:  "uncontained ECC error: the GPU has to be reset",
	109: "context switch timeout",
	119: "the GPU's system processor (GSP) doesn't answer",
	120: "the GPU's system processor (GSP) failed",
	140: "unrecovered ECC error",
}

// faultWords names an event: "Xid 79: the GPU has fallen off the bus".
func faultWords(kind, code uint64) string {
	if kind == nvml.EventTypeDoubleBitEccError {
		return "double-bit ECC error"
	}
	if words, ok := xidWords[code]; ok {
		return fmt.Sprintf("Xid %d: %s", code, words)
	}
	return fmt.Sprintf("Xid %d", code)
}
