package messages

import (
	"strconv"
	"time"
)

// NATSPortHeader names the port of the NATS door, on the page / of the HTTP door: the command line speaks NATS, and people know the HTTP address.
const NATSPortHeader = "X-Modelops-Nats-Port"

// RetryHeaders are the values of Retry-After and Retry-After-Ms. Seconds are rounded up, so that nobody comes back too early.
func RetryHeaders(after time.Duration) (seconds, ms string) {
	return strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10), strconv.FormatInt(max(1, after.Milliseconds()), 10)
}
