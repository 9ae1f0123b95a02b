package peer

import (
	"net"
	"sync"
)

// Conn is a connection that another host opened on the cluster port, after the preamble. Who gets it closes it.
type Conn struct {
	net.Conn
	Host     string // the member that opened it; of a protocol for strangers, what it calls itself
	Protocol string

	closed sync.Once
	gone   func()
}

// Close ends the connection.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.closed.Do(c.gone)
	return err
}
