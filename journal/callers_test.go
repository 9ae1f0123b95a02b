package journal

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"modelops/messages"
)

func TestARevokedKeyIsDisconnected(t *testing.T) {
	j, keys, _ := openGuarded(t)
	alice, bob := mustDial(t, j, nats.Token("alice-key")), mustDial(t, j, nats.Token("bob-key"))
	keys.drop("alice-key")
	j.RecheckCallers(t.Context())
	await(t, alice.IsClosed)
	if nc, err := dial(j, nats.Token("alice-key")); err == nil {
		nc.Close()
		t.Error("a revoked key opens a new connection")
	}
	if _, err := bob.Request("api.who", nil, hangLimit); err != nil {
		t.Errorf("another key's connection: %v", err)
	}
	keys.set("bob-key", messages.Principal{Name: "bob", Fingerprint: "b2", Role: messages.Role_READ})
	j.RecheckCallers(t.Context())
	await(t, bob.IsClosed) // its rights are others now
	bob = mustDial(t, j, nats.Token("bob-key"))
	if _, err := bob.Request("api.who", nil, hangLimit); err != nil {
		t.Errorf("with its new rights: %v", err)
	}
	j.DisconnectCallers("b2")
	await(t, bob.IsClosed)
}

func TestAConnectionEndsWithItsKey(t *testing.T) {
	j, keys, _ := openGuarded(t)
	keys.set("short-key", messages.Principal{Name: "short", Fingerprint: "d4", Role: messages.Role_READ, Until: time.Now().Add(time.Second)}) // meant to pass
	nc, err := dial(j, nats.Token("short-key"))
	if err != nil { // the machine took longer than the key lives
		return
	}
	defer nc.Close()
	await(t, nc.IsClosed)
}

// The server is replaced in place when a full disk has room again. Callers come back to an account that is served.
func TestCallersComeBackAfterARestartInPlace(t *testing.T) {
	j, _, _ := openGuarded(t)
	alice := mustDial(t, j, nats.Token("alice-key"), func(o *nats.Options) error {
		o.AllowReconnect, o.MaxReconnect, o.ReconnectWait = true, -1, 10*time.Millisecond
		return nil
	})
	j.stopServer()
	if err := j.startServer(j.o.Dir); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		m, err := alice.Request("api.who", nil, time.Second) // meant to pass: one that meets the restart is lost; the next has an answer
		return err == nil && string(m.Data) == "alice"
	})
}

// One key can't take every connection that there is.
func TestAKeyLeavesConnectionsToOthers(t *testing.T) {
	j, _, _ := openGuarded(t)
	j.o.MaxConnections = 8
	refused := 0
	for range 8 {
		nc, err := dial(j, nats.Token("bob-key"))
		if err != nil {
			refused++
			continue
		}
		defer nc.Close()
	}
	if refused != 4 {
		t.Errorf("%d of 8 connections were refused, want half", refused)
	}
	for _, key := range []string{"alice-key", operatorKey} {
		if m, err := mustDial(t, j, nats.Token(key)).Request("api.who", nil, hangLimit); err != nil {
			t.Errorf("%s: %v, %v", key, m, err)
		}
	}
}

// Who waits for an answer is known in the caller's own account.
func TestWhoReads(t *testing.T) {
	j, keys, _ := openGuarded(t)
	nc := mustDial(t, j, nats.Token("alice-key"))
	sub, err := nc.SubscribeSync("_INBOX.waits.*")
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	alice, bob := keys.keys["alice-key"], keys.keys["bob-key"]
	mustDial(t, j, nats.Token("bob-key"))
	if !j.Reads(alice, "_INBOX.waits.1") || j.Reads(alice, "_INBOX.other") || j.Reads(bob, "_INBOX.waits.1") {
		t.Error("whose subscription it is, isn't known")
	}
	if err := sub.Unsubscribe(); err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return !j.Reads(alice, "_INBOX.waits.1") })
}

// An account is served while it has connections, and again when they come back.
func TestAnIdleAccountIsNotServed(t *testing.T) {
	j, _, door := openGuarded(t)
	nc := mustDial(t, j, nats.Token("alice-key"))
	j.callers.sweep(time.Now().Add(time.Hour))
	if door.left.Load() != 0 {
		t.Error("an account with a connection isn't served any more")
	}
	nc.Close()
	await(t, func() bool { j.callers.sweep(time.Now().Add(time.Hour)); return door.left.Load() == 1 })
	if m, err := mustDial(t, j, nats.Token("alice-key")).Request("api.who", nil, hangLimit); err != nil || string(m.Data) != "alice" {
		t.Errorf("%v, %v", m, err)
	}
}

// A client that doesn't read is cut off; those beside it go on.
func TestMessagesAreBounded(t *testing.T) {
	j, _, _ := openGuarded(t)
	nc := mustDial(t, j, nats.Token("alice-key"))
	if err := nc.Publish("api.big", make([]byte, nc.MaxPayload()+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("%v", err)
	}
	for i := 0; nc.LastError() == nil && i < 2*maxSubscriptions; i++ {
		if _, err := nc.SubscribeSync("_INBOX.many." + itoa(uint64(i))); err != nil {
			break
		}
		if i%256 == 255 {
			_ = nc.Flush()
		}
	}
	_ = nc.Flush()
	if err := nc.LastError(); err == nil || !strings.Contains(err.Error(), "subscriptions") {
		t.Errorf("a client has any number of subscriptions: %v", err)
	}
	if m, err := mustDial(t, j, nats.Token("bob-key")).Request("api.who", nil, hangLimit); err != nil || string(m.Data) != "bob" {
		t.Errorf("%v, %v", m, err)
	}
}

// A signature proves the key for one connection only.
func TestASignatureIsForOneNonce(t *testing.T) {
	pair, err := pairOf(operatorKey)
	if err != nil {
		t.Fatal(err)
	}
	public, _ := pair.PublicKey()
	sig, _ := pair.Sign([]byte("nonce-1"))
	encoded := base64.RawURLEncoding.EncodeToString(sig)
	for _, c := range []struct {
		key, public, sig, nonce string
		want                    bool
	}{
		{operatorKey, public, encoded, "nonce-1", true}, {operatorKey, public, encoded, "nonce-2", false}, {operatorKey, public, encoded, "", false},
		{"other", public, encoded, "nonce-1", false}, {"", public, encoded, "nonce-1", false}, {operatorKey, public, "", "nonce-1", false}, {operatorKey, "UX", encoded, "nonce-1", false},
	} {
		if got := provesKey(c.key, c.public, c.sig, []byte(c.nonce)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
