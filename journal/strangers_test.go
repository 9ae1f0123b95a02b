package journal

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"modelops/messages"
)

// openBounded is openGuarded with bounds of its own.
func openBounded(t *testing.T, b Bounds, most int) (*Journal, *keyring) {
	t.Helper()
	j, keys, _ := openGuarded(t, func(o *Options) { o.Bounds, o.MaxConnections = b, most })
	return j, keys
}

// A program that opens connection after connection and never says whose they are keeps nobody out.
func TestStrangersLeaveConnectionsToCallers(t *testing.T) {
	j, keys := openBounded(t, Bounds{Handshake: hangLimit}, 40)
	var opened atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			nc, err := net.Dial("tcp", j.address())
			if err != nil {
				continue
			}
			defer func() { _ = nc.Close() }()
			opened.Add(1)
			<-time.After(time.Millisecond)
		}
	}()
	await(t, func() bool { return opened.Load() > int64(3*j.o.most()) })
	for _, key := range []string{"alice-key", operatorKey} {
		await(t, func() bool {
			nc, err := dial(j, nats.Token(key))
			if err != nil {
				return false
			}
			defer nc.Close()
			m, err := nc.Request("api.who", nil, hangLimit)
			return err == nil && len(m.Data) > 0
		})
	}
	await(t, func() bool {
		own, err := j.Connect()
		if err != nil {
			return false
		}
		own.Close()
		return true
	})
	close(stop)
	<-stopped
	if n := keys.refused.Load(); n < int64(j.o.most()) {
		t.Errorf("%d of %d connections were counted as refused", n, opened.Load())
	}
	await(t, func() bool { return j.server.Load().NumClients() <= j.o.most()/2 })
}

// The oldest strangers end, and no caller: neither one that is let in nor this process.
func TestOnlyStrangersEnd(t *testing.T) {
	j, _ := openBounded(t, Bounds{Handshake: hangLimit}, 200)
	alice := mustDial(t, j, nats.Token("alice-key"))
	before := j.server.Load().NumClients()
	for range j.o.most() / strangerPart {
		nc, err := net.Dial("tcp", j.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
	}
	await(t, func() bool { return j.server.Load().NumClients() >= j.o.most()/strangerPart })
	await(t, func() bool {
		j.callers.endStrangers()
		return j.server.Load().NumClients() <= before+j.o.most()/strangerPart
	})
	if m, err := alice.Request("api.who", nil, hangLimit); err != nil || string(m.Data) != "alice" {
		t.Errorf("%v, %v", m, err)
	}
}

// Keys together leave the last connections to the operator.
func TestKeysLeaveConnectionsToTheOperator(t *testing.T) {
	j, keys := openBounded(t, Bounds{}, 20)
	all := []string{"alice-key", "bob-key", "carol-key", "dave-key", "erin-key", "fred-key"}
	for _, key := range all[2:] {
		keys.set(key, messages.Principal{Name: key, Fingerprint: key, Role: messages.Role_INFER})
	}
	refused := false
	for i := 0; i < 2*j.o.most() && !refused; i++ { // no key has as many as a key may have
		nc, err := dial(j, nats.Token(all[i%len(all)]))
		if refused = err != nil; !refused {
			t.Cleanup(nc.Close)
		}
	}
	if n := j.server.Load().NumClients(); !refused || keys.refused.Load() == 0 || n >= j.o.most() {
		t.Fatalf("%d connections of %d, refused: %t", n, j.o.most(), refused)
	}
	mustDial(t, j, nats.Token(operatorKey))
}

// One connection has only so many subscriptions.
func TestSubscriptionsAreBounded(t *testing.T) {
	j, _ := openBounded(t, Bounds{Subscriptions: doorSubscriptions + 10}, 20)
	told := make(chan error, 1000)
	nc := mustDial(t, j, nats.Token("alice-key"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { told <- err }))
	for range doorSubscriptions + 10 {
		if _, err := nc.SubscribeSync(nats.NewInbox()); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(hangLimit); err != nil || len(told) > 0 {
		t.Fatal(err, len(told))
	}
	_, _ = nc.SubscribeSync(nats.NewInbox())
	if err := <-told; !strings.Contains(err.Error(), "maximum subscriptions exceeded") {
		t.Error(err)
	}
}
