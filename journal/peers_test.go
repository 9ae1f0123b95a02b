package journal

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"modelops/messages"
)

// echoDoor answers every peer with its own name.
type echoDoor struct{}

func (echoDoor) EnterPeer(host string, nc *nats.Conn) (func(), error) {
	sub, err := nc.Subscribe("peer.v1.who", func(m *nats.Msg) { _ = m.Respond([]byte(host)) })
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nc.Flush()
}

func servingPeers(t *testing.T) *Journal {
	t.Helper()
	j, _, _ := openGuarded(t)
	t.Cleanup(j.ServePeers(echoDoor{}))
	return j
}

func dialPeer(j *Journal, host, secret string, opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append([]nats.Option{nats.InProcessServer(j), nats.UserInfo(peerUser+host, secret), nats.CustomInboxPrefix(PeerInbox(host)), nats.NoReconnect()}, opts...)...)
}

func mustDialPeer(t *testing.T, j *Journal, host string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	secret, err := j.AdmitPeer(host)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := dialPeer(j, host, secret, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestASecretLetsAPeerInOnce(t *testing.T) {
	j := servingPeers(t)
	secret, err := j.AdmitPeer("pc2")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ host, secret string }{{"pc3", secret}, {"pc2", "wrong"}, {"pc2", ""}} {
		if nc, err := dial(j, nats.UserInfo(peerUser+c.host, c.secret)); err == nil {
			nc.Close()
			t.Errorf("%s is let in with the secret %q", c.host, c.secret)
		}
	}
	nc, err := dialPeer(j, "pc2", secret)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if m, err := nc.Request("peer.v1.who", nil, hangLimit); err != nil || string(m.Data) != "pc2" {
		t.Errorf("%v, %v", m, err)
	}
	if again, err := dial(j, nats.UserInfo(peerUser+"pc2", secret)); err == nil {
		again.Close()
		t.Error("a secret is used twice")
	}
}

// A peer may publish peer.v1.> and read its own inbox, and nothing else; nor does it see the subjects of another peer.
func TestAPeerMayNothingElse(t *testing.T) {
	j := servingPeers(t)
	refused := make(chan error, 16)
	pc2 := mustDialPeer(t, j, "pc2", nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	want := func(what string) {
		t.Helper()
		_ = pc2.Flush()
		select {
		case err := <-refused:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(hangLimit):
			t.Errorf("%s is not refused", what)
		}
	}
	for _, subject := range []string{"journal.main_pc.host", "modelops.v1.models.load", "$JS.API.INFO", "$SYS.REQ.SERVER.PING", "_INBOX_pc2.x", "_INBOX.x", "api.who", "$KV.x.y"} {
		_ = pc2.Publish(subject, nil)
		want("publishing to " + subject)
	}
	for _, subject := range []string{">", "peer.v1.ask", "_INBOX_pc3.>", "_INBOX.>", "journal.>", "$SYS.>", "_INBOX_pc2x.>"} {
		_, _ = pc2.SubscribeSync(subject)
		want("subscribing to " + subject)
	}
	if _, err := pc2.JetStream(); err == nil {
		js, _ := pc2.JetStream(nats.MaxWait(time.Second))
		if _, err := js.AccountInfo(); err == nil {
			t.Error("a peer's account has JetStream")
		}
	}
}

// Two hosts of one subject: neither reads what the other one is answered.
func TestPeersDontSeeEachOther(t *testing.T) {
	j := servingPeers(t)
	pc2, pc3 := mustDialPeer(t, j, "pc2"), mustDialPeer(t, j, "pc3")
	other, err := pc3.SubscribeSync("_INBOX_pc3.>")
	if err != nil || pc3.Flush() != nil {
		t.Fatal(err)
	}
	if m, err := pc2.Request("peer.v1.who", nil, hangLimit); err != nil || string(m.Data) != "pc2" {
		t.Errorf("%v, %v", m, err)
	}
	if m, err := pc3.Request("peer.v1.who", nil, hangLimit); err != nil || string(m.Data) != "pc3" {
		t.Errorf("%v, %v", m, err)
	}
	if err := pc2.PublishRequest("peer.v1.who", "_INBOX_pc3.stolen", nil); err != nil || pc2.Flush() != nil {
		t.Error(err)
	}
	if _, err := pc3.Request("peer.v1.who", nil, hangLimit); err != nil { // what was sent before has arrived
		t.Error(err)
	}
	for n, _, _ := other.Pending(); n > 0; n, _, _ = other.Pending() {
		if m, err := other.NextMsg(hangLimit); err != nil || string(m.Data) != "pc3" {
			t.Errorf("pc3 reads %v, %v", m, err)
		}
	}
}

func TestARemovedPeerIsDisconnected(t *testing.T) {
	j := servingPeers(t)
	pc2, pc3 := mustDialPeer(t, j, "pc2"), mustDialPeer(t, j, "pc3")
	left, err := j.AdmitPeer("pc2")
	if err != nil {
		t.Fatal(err)
	}
	j.DropPeer("pc2")
	await(t, pc2.IsClosed)
	if nc, err := dial(j, nats.UserInfo(peerUser+"pc2", left)); err == nil {
		nc.Close()
		t.Error("a secret from before the removal lets in")
	}
	if m, err := pc3.Request("peer.v1.who", nil, hangLimit); err != nil || string(m.Data) != "pc3" {
		t.Errorf("%v, %v", m, err)
	}
	mustDialPeer(t, j, "pc2") // admitted anew
}

func TestNoPeerIsAdmittedWhileNoneIsServed(t *testing.T) {
	j, _, _ := openGuarded(t)
	if _, err := j.AdmitPeer("pc2"); messages.CodeOf(err) != messages.Unavailable {
		t.Error(err)
	}
	stop := j.ServePeers(echoDoor{})
	nc := mustDialPeer(t, j, "pc2")
	stop()
	await(t, nc.IsClosed)
	if _, err := j.AdmitPeer("pc2"); messages.CodeOf(err) != messages.Unavailable {
		t.Error(err)
	}
}
