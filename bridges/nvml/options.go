package nvml

import "log/slog"

// Options says which library is used and where the log goes.
type Options struct {
	// LibraryPath is the file of the library; empty = libnvidia-ml.so.1, found by the system's loader.
	LibraryPath string
	// Log gets devices that are lost or come back and what goes wrong with the driver; nil = no log.
	Log *slog.Logger
}

func (o Options) logger() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log.With("bridge", "nvml")
}
