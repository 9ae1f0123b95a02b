package messages

import "encoding/json"

// Sent is what a command did that came by name and as JSON.
type Sent struct {
	AnswerType string          `json:"answer_type"` // proto name of the answer
	Answer     json.RawMessage `json:"answer"`
	Events     []SentEvent     `json:"events"` // what the command caused, in order
	Sequence   uint64          `json:"sequence"`
}

// SentEvent is an event as the journal names it.
type SentEvent struct {
	Name string          `json:"name"`
	Body json.RawMessage `json:"body"`
}
