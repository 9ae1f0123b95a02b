package messages

// Upcaster rewrites the body of an event from one schema version to the next. It is pure and never fails for a body that a released build
// wrote.
type Upcaster func(body []byte) ([]byte, error)

// upcasters holds, by event name, the step from version i+1 to version i+2 at index i. An event whose version rises in its proto file gets
// its step here, and a test holds that none is missing; a version that only adds fields needs none and has `same`.
var upcasters = map[string][]Upcaster{}

// same is the step of a version that only added fields.
func same(body []byte) ([]byte, error) { return body, nil }

var _ Upcaster = same

// upcast brings a body to the present version of its type.
func upcast(t eventType, e *Event) ([]byte, error) {
	body := e.Body
	for v := max(e.Version, 1); v < t.version; v++ {
		next, err := upcasters[t.name][v-1](body)
		if err != nil {
			return nil, Errorf(JournalDamaged, e.Type, "the event of schema version %d can't be read as version %d: %w", e.Version, t.version, err)
		}
		body = next
	}
	return body, nil
}
