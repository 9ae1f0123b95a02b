package messages

// Verdict is what a trial found: the smallest request of a kind, sent to a worker that requests blame.
type Verdict int

const (
	// TrialUnknown means that the worker can't be asked such a thing, or that its refusal tells nothing.
	TrialUnknown Verdict = iota
	// TrialWorks means that it answered.
	TrialWorks
	// TrialFails means that it answered with an error of its own, or that it can't be reached.
	TrialFails
	// TrialBusy means that no answer came in time and its process computed, or nobody can see what it does.
	TrialBusy
	// TrialSilent means that no answer came in time and its process did nothing.
	TrialSilent
)
