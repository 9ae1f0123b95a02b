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
