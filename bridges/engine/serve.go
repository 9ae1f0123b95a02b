package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a worker. Zero values mean the defaults in brackets.
type Options struct {
	ModelPath string
	Alias     string // the model's name in answers [file name without .gguf]
	Host      string // [127.0.0.1]
	Port      int    // 0: any free one; OnListen tells which
	// OnListen is called once, with host:port, as soon as connections are accepted and before the model is read.
	OnListen func(addr string)

	Slots         int // requests that run at the same time [4]
	MaxQueue      int // requests that may wait for a slot; more are refused with 503 [1024]
	ContextLength int // tokens per slot, at most what the model was trained for [that, at most 4096]
	Threads       int // slots that compute at the same instant [GOMAXPROCS]
	// Grace is how long requests may go on after the end of ctx. Negative: none. [5 s]
	Grace  time.Duration
	Logger *slog.Logger // [discard]

	// Knobs for tests of a worker's supervisor.
	LoadDelay  time.Duration // loading takes at least so long, with steady progress
	TokenDelay time.Duration // pause before each token
	HangAfter  int           // every generation stops moving after so many tokens; 0: never
}

func (o Options) withDefaults() (Options, error) {
	if o.ModelPath == "" {
		return o, errors.New("no model file given")
	}
	if o.Slots < 0 || o.Slots > 1024 || o.Threads < 0 || o.ContextLength < 0 || o.MaxQueue < 0 {
		return o, fmt.Errorf("slots %d (at most 1024), threads %d, context length %d and queue %d must not be negative",
			o.Slots, o.Threads, o.ContextLength, o.MaxQueue)
	}
	orElse := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orElse(&o.Slots, 4)
	orElse(&o.MaxQueue, 1024)
	orElse(&o.Threads, runtime.GOMAXPROCS(0))
	if o.Alias == "" {
		o.Alias = strings.TrimSuffix(filepath.Base(o.ModelPath), ".gguf")
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return o, nil
}

// Serve listens, loads the model and answers until ctx ends; then it accepts nothing new, lets running requests finish
// within Options.Grace, cuts off the rest and returns nil. It returns an error when it can't listen or the model can't
// be loaded. While it loads, every path answers 503 with the progress.
func Serve(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	s := newServer(o)
	// Requests outlive ctx by the grace: their own context is cut only after that.
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	silent := &silentConns{open: map[net.Conn]bool{}}
	web := &http.Server{
		ConnState:         silent.track,
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	if o.OnListen != nil {
		o.OnListen(listener.Addr().String())
	}
	o.Logger.Info("listening", "addr", listener.Addr().String(), "model", o.Alias)

	err = s.load(ctx)
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
			served <- err
		}
	}
	stop(web, silent, o.Grace, cut)
	<-served
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("engine: %w", err)
	}
	return nil
}

// stop lets running requests finish within the grace, then ends their contexts and closes what is left.
func stop(web *http.Server, silent *silentConns, grace time.Duration, cut context.CancelFunc) {
	patience, cancel := context.WithTimeout(context.Background(), max(grace, 0))
	defer cancel()
	defer time.AfterFunc(silentPatience, silent.close).Stop()
	if web.Shutdown(patience) == nil {
		return
	}
	cut()
	// Generations notice within a token; their last bytes, an error event, still go out.
	last, cancelLast := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancelLast()
	if web.Shutdown(last) != nil {
		web.Close()
	}
}

// silentPatience is how long a connection that never sent anything is waited for at the end: enough for bytes under way.
const silentPatience = 50 * time.Millisecond

// silentConns knows the connections that have not sent a request yet. Clients dial such ones in reserve, and the web
// server would wait five seconds for each before it stops.
type silentConns struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (s *silentConns) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.open[c] = true
		return
	}
	delete(s.open, c)
}

func (s *silentConns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}

// load reads the model and opens the doors. The progress callback carries the load delay, so that a delayed load looks
// like a slow disk.
func (s *server) load(ctx context.Context) error {
	start := time.Now()
	model, err := Load(ctx, s.opt.ModelPath, s.opt.ContextLength, func(read, total int64) {
		done := float64(read) / float64(max(total, 1))
		due := start.Add(time.Duration(done * float64(s.opt.LoadDelay)))
		if wait := time.Until(due); wait > 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		s.setProgress(done)
	})
	if err != nil {
		return err
	}
	s.open(model)
	debug.FreeOSMemory() // what loading left behind would count as the model's footprint
	s.opt.Logger.Info("model loaded", "model", s.opt.Alias, "params", model.Params, "context", model.Context,
		"slots", s.opt.Slots, "took", time.Since(start))
	return nil
}
