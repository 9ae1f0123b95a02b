package journal

import (
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Bounds are what one client of the listener may take. A zero leaves the server's own.
type Bounds struct {
	Handshake     time.Duration // of TLS, and until it says whose it is
	Subscriptions int           // of one connection
}

// doorSubscriptions are more than the door has in an account: two for each operation.
const doorSubscriptions = 256

// guard puts TLS and the bounds on a listener. In-process connections speak no TLS.
func (o Options) guard(s *server.Options) {
	if o.TLS != nil {
		s.TLSConfig, s.TLS = o.TLS, true
	}
	if t := o.Bounds.Handshake.Seconds(); t > 0 {
		s.TLSTimeout = t
		s.AuthTimeout = max(s.AuthTimeout, t+1) // it begins with the connection
	}
	if o.Bounds.Subscriptions > 0 {
		s.MaxSubs = max(o.Bounds.Subscriptions, doorSubscriptions) // the server bounds the door's own connections by the same number
	}
}
