package runtime

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// DialFunc connects, as net.Dialer's DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// EitherFamily is dial, but where nothing listens on 127.0.0.1 it tries ::1: some engines listen on one of the two only.
func EitherFamily(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if host, port, bad := net.SplitHostPort(address); bad == nil && host == loopback4 && errors.Is(err, syscall.ECONNREFUSED) {
			if other, failed := dial(ctx, network, net.JoinHostPort(loopback6, port)); failed == nil {
				return other, nil
			}
		}
		return c, err
	}
}

const (
	loopback4 = "127.0.0.1"
	loopback6 = "::1"
)

// dialEither is how workers are reached where no other way is given.
var dialEither = EitherFamily((&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext)
