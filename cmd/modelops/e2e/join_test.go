//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

// TestTwoHostsJoin: the commands that people type make two hosts a cluster, also after both have started again; wrong ones leave nothing behind.
func TestTwoHostsJoin(t *testing.T) {
	of := func(host string) *daemon {
		return prepare(t, strings.Replace(base, "host: main_pc", "host: "+host, 1)+fmt.Sprintf("cluster: {port: %d, actors_port: 0, advertise: 127.0.0.1}\n", freePort(t)))
	}
	main, pc2 := of("main_pc"), of("pc2")
	main.launch()
	if o := main.cli("cluster", "invite"); o.code == 0 || !strings.Contains(o.err, "modelops cluster init") {
		t.Errorf("a host alone invites: %s", o)
	}
	if out := main.typed("cluster", "init"); !strings.Contains(out, "modelops upgrade") {
		t.Error(out)
	}
	main.typed("upgrade")
	main.until(startLimit, "the daemon is up again", main.announced)
	var r struct{ Token, Address, Command string }
	if err := json.Unmarshal([]byte(main.typed("cluster", "invite", "--json")), &r); err != nil || r.Command != "modelops serve --join "+r.Address+" --token "+r.Token {
		t.Fatal(r, err)
	}
	if o := pc2.cli("serve", "--join", r.Address, "--token", r.Token[:20]); o.code == 0 || !strings.Contains(o.err, "no token") {
		t.Errorf("%s", o)
	}
	if o := main.cli("serve", "--join", r.Address, "--token", r.Token); o.code == 0 || !strings.Contains(o.err, "can't join itself") {
		t.Errorf("%s", o)
	}
	if _, err := os.Stat(filepath.Join(pc2.state(), "cluster")); err == nil {
		t.Error("half joined")
	}
	pc2.args = []string{"--join", r.Address, "--token", r.Token}
	pc2.launch()
	sees := func(d *daemon, other string) {
		t.Helper()
		nc := d.dial()
		defer nc.Close()
		d.until(startLimit, "the other host's actor answers", func() bool {
			_, err := view(nc, messages.HostActor(other))
			return err == nil
		})
	}
	sees(main, "pc2")
	sees(pc2, "main_pc")
	if o := of("pc3").cli("serve", "--join", r.Address, "--token", r.Token); o.code == 0 || !strings.Contains(o.err, "used already, by pc2") {
		t.Errorf("%s", o)
	}
	pc2.kill()
	pc2.launch() // with the same flags
	sees(main, "pc2")
	sees(pc2, "main_pc")
	if out := pc2.typed("cluster", "invite"); !strings.Contains(out, "modelops serve --join 127.0.0.1:") { // a member that joined invites too
		t.Error(out)
	}
}
