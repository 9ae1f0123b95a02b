package nvml

import (
	"io/fs"
	"log/slog"
)

// Options says which library is used and where the log goes.
type Options struct {
	// LibraryPath is the file of the library; empty = libnvidia-ml.so.1, found by the system's loader.
	LibraryPath string
	// Visible is the process's own CUDA_VISIBLE_DEVICES: only the devices that it names exist. nil = the variable isn't set, and all exist.
	Visible *string
	// Root holds sys; nil = the machine's own. It tells whether there are cards while the driver doesn't.
	Root fs.FS
	// Log gets devices that are lost or come back and what goes wrong with the driver; nil = no log.
	Log *slog.Logger
}

func (o Options) logger() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log.With("bridge", "nvml")
}
