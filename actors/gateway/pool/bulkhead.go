package pool

// Host is the bound over the requests of all pools of a host.
type Host interface {
	// Enter takes a place to run; false when all are taken. Leave gives it back.
	Enter() bool
	Leave()
	// Queue takes a place to wait; false when all are taken. Unqueue gives n back.
	Queue() bool
	Unqueue(n int)
	// Counts are what runs and waits, and how many may.
	Counts() Counts
}

// Counts of a host's requests; a maximum of 0 is no bound.
type Counts struct {
	Running, MaxRunning int64
	Waiting, MaxWaiting int64
}

// Free tells whether there is a place to run.
func (c Counts) Free() bool { return c.MaxRunning <= 0 || c.Running < c.MaxRunning }

// Room tells whether there is a place to wait.
func (c Counts) Room() bool { return c.MaxWaiting <= 0 || c.Waiting < c.MaxWaiting }

// unbounded is a host without a bound.
type unbounded struct{}

// Enter always takes a place.
func (unbounded) Enter() bool { return true }

// Leave gives nothing back.
func (unbounded) Leave() {}

// Queue always takes a place.
func (unbounded) Queue() bool { return true }

// Unqueue gives nothing back.
func (unbounded) Unqueue(int) {}

// Counts are zero.
func (unbounded) Counts() Counts { return Counts{} }
