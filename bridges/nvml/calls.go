//go:build linux && cgo && (amd64 || arm64)

package nvml

//go:generate go run ./callgen calls.h

// calls.c defines the NVML functions that go-nvml calls.

// #cgo LDFLAGS: -ldl
import "C"
