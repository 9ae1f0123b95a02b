package rest

import (
	"crypto/tls"
	"net"
	"net/http"
)

// idler is a connection that is told whether it has a request, so that a full listener knows which to close.
type idler interface{ SetIdle(idle bool) }

// noteIdle tells a connection whether it has a request: a new one and one between two requests have none.
func noteIdle(c net.Conn, state http.ConnState) {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	if c, ok := c.(idler); ok {
		c.SetIdle(state == http.StateNew || state == http.StateIdle)
	}
}
