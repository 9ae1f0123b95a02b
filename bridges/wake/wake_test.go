package wake

import (
	"bytes"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A host is woken when a request has waited long enough, by a packet with its card's address; one that can't be woken isn't.
func TestWake(t *testing.T) {
	listens, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listens.Close()
	w := New(func(host string) (Machine, bool) {
		return Machine{MAC: "02:00:5e:10:00:01", After: time.Minute, Address: listens.LocalAddr().String()}, host == "pc2"
	}, slog.New(slog.DiscardHandler))
	if w.Wake(t.Context(), "pc3", time.Hour) || w.Wakes("pc3") {
		t.Error("pc3 can be woken")
	}
	if !w.Wake(t.Context(), "pc2", time.Second) || !w.due("pc2", time.Now()) {
		t.Error("pc2 was woken too soon")
	}
	delete(w.sent, "pc2")
	if !w.Wake(t.Context(), "pc2", time.Minute) {
		t.Error("pc2 can't be woken")
	}
	got := make([]byte, 200)
	n, err := listens.Read(got)
	if err != nil {
		t.Fatal(err)
	}
	want := append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat([]byte{2, 0, 0x5e, 0x10, 0, 1}, 16)...)
	if !bytes.Equal(got[:n], want) {
		t.Errorf("sent % x", got[:n])
	}
}

func TestPacketsAreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(nil, nil)
		sent := 0
		for range 100 { // ten seconds of questions
			if w.due("pc2", time.Now()) {
				sent++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if sent != 2 {
			t.Errorf("%d packets in 10 s", sent)
		}
	})
}

func TestAWrongAddress(t *testing.T) {
	for _, mac := range []string{"", "pc2", "02:00:5e:10:00", "02:00:5e:10:00:00:00:01"} {
		if err := send(t.Context(), Machine{MAC: mac, Address: "127.0.0.1:9"}); err == nil {
			t.Errorf("%q was taken", mac)
		}
	}
}
