package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"modelops/bridges/config"
	"modelops/journal"
	"modelops/messages"
)

// Program is what the command line belongs to: the version of the binary, and how it runs as a daemon.
type Program struct {
	Version string
	// Start opens the daemon of one host. The daemon calls reread to apply a changed configuration.
	Start func(ctx context.Context, cfg *config.Config, log *slog.Logger, reread func() (*config.Config, error)) (Daemon, error)
	// Advise says what is wrong and what is doubtful about the declared models, as the engines will take them; may be nil.
	Advise func(ctx context.Context, cfg *config.Config) (wrong config.Problems, doubtful []string)
	// AskPeer links to another host of the cluster while no daemon of this host runs, and reads journals there until end is called.
	AskPeer func(ctx context.Context, cfg *config.Config, host string) (pages journal.Pages, end func(), err error)
	// Logger makes the daemon's log; level and format are those of the configuration.
	Logger func(w io.Writer, level, format string) (*slog.Logger, error)
}

// Daemon is a running host, as `modelops serve` needs it. It is over after Stop or Leave.
type Daemon interface {
	Addresses() Addresses
	// Decisions is the sequence of the journal's last decision.
	Decisions() uint64
	Devices() []*messages.GpuView
	// AwaitLoad returns when the model is ready, has failed, or is no longer wanted.
	AwaitLoad(ctx context.Context, model string) (*messages.ModelView, error)
	Infer(ctx context.Context, r *messages.InferenceRequest) (*messages.InferenceResponse, error)
	// FollowConfig applies the configuration at each signal, and when the file at path changes, until ctx ends. An empty path is not watched.
	FollowConfig(ctx context.Context, signals <-chan os.Signal, path string)
	// Stop lets running requests finish while ctx lasts, closes everything and ends the workers.
	Stop(ctx context.Context) error
	// Leave is Stop, but the workers keep running.
	Leave(ctx context.Context, reason string) error
}

// AddressFile is the file in the data directory that tells clients how to reach the daemon.
const AddressFile = "daemon.json"

// Addresses is the content of AddressFile. A daemon writes it when it has started.
type Addresses struct {
	PID int `json:"pid"`
	// Started and Kernel prove that the process with this pid is the daemon: its start time in ticks, and the kernel's boot id.
	Started uint64 `json:"started,omitempty"`
	Kernel  string `json:"kernel,omitempty"`

	Host string `json:"host"`
	Boot string `json:"boot"`
	HTTP string `json:"http"`
	GRPC string `json:"grpc"`
	NATS string `json:"nats"`
	TLS  string `json:"tls,omitempty"` // SHA-256 of the certificate that the doors show; empty = they speak no TLS
}

// Run runs one command line and returns its exit code, one of those that `modelops help exit-codes` explains.
func Run(ctx context.Context, p Program, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{program: p, stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now}
	root := newRoot(c)
	root.SetArgs(args)
	return c.finish(root.ExecuteContextC(ctx))
}
