//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net"
)

// proxies is a network of loopback addresses, for where namespaces aren't permitted.
type proxies struct{ hosts int }

func openProxies(hosts int) *proxies { return &proxies{hosts: hosts} }

func (n *proxies) kind() string                        { return "loopback, with proxies that cut" }
func (n *proxies) address(host int) string             { return fmt.Sprintf("127.0.77.%d", host) }
func (n *proxies) inside(_ int, do func() error) error { return do() }
func (n *proxies) set(way, condition)                  {}
func (n *proxies) close()                              {}
func (n *proxies) dial(ctx context.Context, _ int, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp4", address)
}
