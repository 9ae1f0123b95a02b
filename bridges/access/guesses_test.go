package access

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// guessed is a guard with a long key and a short one, and what it logged and counted.
func guessed(t *testing.T) (g *Guard, c *clock, said *bytes.Buffer, told map[string]int) {
	t.Helper()
	g, c, _ = guarded(t, Rules{Class: "normal"})
	said, told = &bytes.Buffer{}, map[string]int{}
	g.tried = newGuesses(slog.New(slog.NewTextHandler(said, nil)), func(door string, slowed bool) { told[fmt.Sprint(door, slowed)]++ })
	rules := Rules{Class: "normal", Keys: configured("short-key", messages.Principal{Name: "alice", Role: messages.Role_OPERATE}), Guessable: map[Sum]bool{sha256.Sum256([]byte("short-key")): true}}
	rules.Keys[sha256.Sum256([]byte("a-key-that-is-long"))] = messages.Principal{Name: "bob", Role: messages.Role_OPERATE}
	g.Follow(rules)
	return g, c, said, told
}

func from(at string) netip.Addr { return netip.MustParseAddr(at) }

// Wrong keys from one place are soon refused unseen, and again looked at as time passes. Other places, and long keys of the same place, don't notice.
func TestWrongKeysAreSlowed(t *testing.T) {
	g, c, said, told := guessed(t)
	try := func(key, at string) messages.Code {
		_, err := g.Authenticate(t.Context(), messages.Credentials{Key: key, Peer: from(at), Door: "grpc"})
		if e := messages.AsError(err); e != nil && e.Code == messages.BulkheadRejection && (e.Retry <= 0 || e.Retry > wrongEvery || e.Hint == "") {
			t.Errorf("%+v", e)
		}
		return messages.CodeOf(err)
	}
	refused := 0
	for i := range 2000 {
		if try(fmt.Sprint("guess-", i), "192.0.2.7") == messages.Unauthenticated {
			refused++
		}
	}
	if refused != wrongBurst || told["grpcfalse"] != wrongBurst || told["grpctrue"] != 2000-wrongBurst {
		t.Errorf("%d guesses were looked at, counted %v", refused, told)
	}
	if got := said.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "guess-") || !strings.Contains(got, "192.0.2.7") {
		t.Errorf("logged: %s", got)
	}
	for what, c := range map[string]struct {
		key, at string
		want    messages.Code
	}{
		"a long key from the same place":                    {"a-key-that-is-long", "192.0.2.7", 0},
		"the operator's":                                    {operatorKey, "192.0.2.7", 0},
		"a short key that was never used there, so a guess": {"short-key", "192.0.2.7", messages.BulkheadRejection},
		"a short key from elsewhere":                        {"short-key", "192.0.2.8", 0},
		"a wrong key from elsewhere":                        {"guess-1", "192.0.2.8", messages.Unauthenticated},
	} {
		if got := try(c.key, c.at); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	c.at = c.at.Add(wrongEvery)
	if first, second := try("guess-1", "192.0.2.7"), try("guess-2", "192.0.2.7"); first != messages.Unauthenticated || second != messages.BulkheadRejection {
		t.Error("after a while:", first, second)
	}
}

// Who has used a short key from a place isn't kept out by another program's wrong ones there.
func TestAShortKeyInUseIsNotKeptOut(t *testing.T) {
	g, _, _, _ := guessed(t)
	for i := range 100 {
		if _, err := g.Authenticate(t.Context(), messages.Credentials{Key: "short-key", Peer: from("127.0.0.1")}); err != nil {
			t.Fatal(i, err)
		}
		_, _ = g.Authenticate(t.Context(), messages.Credentials{Key: fmt.Sprint("guess-", i), Peer: from("127.0.0.9")}) // all of loopback is one place
	}
}

// One subscriber is one place, whatever its many addresses, and so is a caller whose address isn't known. The memory for places is bounded.
func TestPlaces(t *testing.T) {
	for what, c := range map[string]struct {
		a, b messages.Credentials
		same bool
	}{
		"loopback":               {messages.Credentials{Peer: from("127.0.0.1")}, messages.Credentials{Peer: from("::1")}, true},
		"IPv4":                   {messages.Credentials{Peer: from("192.0.2.7")}, messages.Credentials{Peer: from("192.0.2.8")}, false},
		"IPv4 in IPv6":           {messages.Credentials{Peer: from("192.0.2.7")}, messages.Credentials{Peer: from("::ffff:192.0.2.7")}, true},
		"one /64":                {messages.Credentials{Peer: from("2001:db8:0:1::1")}, messages.Credentials{Peer: from("2001:db8:0:1:ffff::2")}, true},
		"two /64":                {messages.Credentials{Peer: from("2001:db8:0:1::1")}, messages.Credentials{Peer: from("2001:db8:0:2::1")}, false},
		"zones":                  {messages.Credentials{Peer: from("fe80::1%eth0")}, messages.Credentials{Peer: from("fe80::1%eth1")}, true},
		"callers of one address": {messages.Credentials{Peer: from("127.0.0.1"), By: "a"}, messages.Credentials{Peer: from("127.0.0.1"), By: "b"}, false},
	} {
		if (whereOf(c.a) == whereOf(c.b)) != c.same {
			t.Error(what)
		}
	}
	g, _, said, _ := guessed(t)
	for i := range 3 * places {
		at := from(fmt.Sprintf("10.%d.%d.1", i>>8, i&255))
		_, _ = g.Authenticate(t.Context(), messages.Credentials{Key: "guess", Peer: at})
	}
	if n, m := len(g.tried.places), g.tried.order.Len(); n != places || m != places {
		t.Errorf("%d and %d places are remembered", n, m)
	}
	if n := strings.Count(said.String(), "\n"); n > wrongLogBurst {
		t.Errorf("%d lines were logged", n)
	}
}

// A bucket never has more than its burst, also when the clock jumps.
func TestABucketAndTheClock(t *testing.T) {
	b, now := &bucket{}, time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, jump := range []time.Duration{0, 1000 * time.Hour, -500 * time.Hour} {
		now = now.Add(jump)
		got := 0
		for ; b.take(now, 10, time.Second) == 0; got++ {
		}
		if got > 10 || jump >= 0 && got != 10 {
			t.Errorf("%v: %d", jump, got)
		}
	}
}
