//go:build e2e

package e2e_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestKeysWhileTheDaemonRuns makes a key, uses it at each door, and revokes it.
func TestKeysWhileTheDaemonRuns(t *testing.T) {
	d := start(t, oneTiny)
	d.awaitPhase("tiny", "ready")
	if a := d.do(t.Context(), "POST", "/api/models/unload/tiny", nil, "Authorization", ""); a.status != 401 {
		t.Errorf("a local user without a key unloads: %s", a)
	}
	if a := d.do(t.Context(), "POST", "/api/send", object{"actor": "model/main_pc/evil", "command": "DeclareModel", "body": object{"spec": object{"cmd": "touch " + d.dir + "/evil"}}}, "Authorization", ""); a.status != 401 {
		t.Errorf("a local user without a key runs programs: %s", a)
	}
	added := d.cli("keys", "add", "alice", "--model", "ti*", "--expires", "1d")
	key := strings.TrimSpace(added.out)
	if added.code != 0 || !strings.HasPrefix(key, "mo-") {
		t.Fatalf("%s", added)
	}
	bearer := []string{"Authorization", "Bearer " + key}
	if a := d.post("/v1/chat/completions", question("tiny", france), bearer...); said(a) != paris {
		t.Errorf("%s", a)
	}
	if a := d.post("/v1/chat/completions", question("other", france), bearer...); a.status != 403 || !strings.Contains(string(a.body), "ti*") {
		t.Errorf("another model: %s", a)
	}
	if a := d.do(t.Context(), "POST", "/api/models/unload/tiny", nil, bearer...); a.status != 403 {
		t.Errorf("a key that may infer unloads: %s", a)
	}
	if a := d.do(t.Context(), "GET", "/v1/models", nil, "Authorization", "Bearer sk-unknown"); a.status != 401 {
		t.Errorf("with a key added, an unknown one is refused: %s", a)
	}
	nc, err := nats.Connect(d.at.NATS, nats.Token(key), nats.NoReconnect(), nats.Timeout(waitLimit))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	if m, err := nc.Request("modelops.v1.infer.tiny", []byte(`{"prompt":"`+france+`","temperature":0}`), waitLimit); err != nil || !strings.Contains(string(m.Data), paris) {
		t.Errorf("over NATS: %v %v", m, err)
	}
	if ls := d.cli("keys", "ls"); ls.code != 0 || !strings.Contains(ls.out, "alice") || strings.Contains(ls.out, key) {
		t.Errorf("%s", ls)
	}
	if r := d.cli("keys", "revoke", "alice"); r.code != 0 {
		t.Fatalf("%s", r)
	}
	<-closed // the server ends the connection
	if a := d.post("/v1/chat/completions", question("tiny", france), bearer...); a.status != 401 || !strings.Contains(string(a.body), "revoked") {
		t.Errorf("%s", a)
	}
	d.kill()
	d.launch()
	if a := d.post("/v1/chat/completions", question("tiny", france), bearer...); a.status != 401 || !strings.Contains(string(a.body), "revoked") {
		t.Errorf("after kill -9: %s", a)
	}
	if strings.Contains(d.log.tail(10000), key) {
		t.Error("the log has the key")
	}
}
