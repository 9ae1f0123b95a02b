package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// outward bounds the connections to workers. They take descriptors as callers' do, and one caller's connection may carry hundreds of requests.
type outward struct {
	dialer net.Dialer
	places chan struct{}

	mu    sync.Mutex
	frees []func()
}

func newOutward(most int) *outward {
	return &outward{dialer: net.Dialer{Timeout: dialTime, KeepAlive: 30 * time.Second}, places: make(chan struct{}, most)}
}

// dialTime is how long a worker may take to accept a connection.
const dialTime = 10 * time.Second

// onFull has f called when all places are taken: it closes connections that wait for a next request.
func (o *outward) onFull(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.frees = append(o.frees, f)
}

func (o *outward) free() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.frees {
		f()
	}
}

// Dial connects, and waits for a place until ctx ends.
func (o *outward) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case o.places <- struct{}{}:
	default:
		o.free()
		select {
		case o.places <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c, err := o.dialer.DialContext(ctx, network, address)
	if err != nil {
		<-o.places
		return nil, err
	}
	return &outbound{TCPConn: c.(*net.TCPConn), left: o.places}, nil
}

// outbound gives its place back when it is closed.
type outbound struct {
	*net.TCPConn
	left chan struct{}
	once sync.Once
}

func (c *outbound) Close() error {
	c.once.Do(func() { <-c.left })
	return c.TCPConn.Close()
}
