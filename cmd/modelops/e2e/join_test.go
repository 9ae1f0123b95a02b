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

// hostOf prepares a host of a cluster on loopback.
func hostOf(t *testing.T, host, sections string) *daemon {
	return prepare(t, strings.Replace(base, "host: main_pc", "host: "+host, 1)+fmt.Sprintf("cluster: {port: %d, actors_port: 0, advertise: 127.0.0.1}\n", freePort(t))+sections)
}

// invitation is what cluster invite prints with --json.
type invitation struct{ Token, Address, Command string }

func (d *daemon) invites(flags ...string) (r invitation) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(d.typed(append([]string{"cluster", "invite", "--json"}, flags...)...)), &r); err != nil {
		d.t.Fatal(err)
	}
	return r
}

// isRefused runs serve --join, and wants it to fail with these words and to leave nothing half joined.
func (d *daemon) isRefused(r invitation, words ...string) {
	d.t.Helper()
	o := d.wontServe("--join", r.Address, "--token", r.Token)
	for _, w := range words {
		if o.code == 0 || !strings.Contains(o.err, w) {
			d.t.Errorf("%q is missing: %s", w, o)
		}
	}
	if _, err := os.Stat(filepath.Join(d.state(), "cluster")); err == nil {
		d.t.Error("half joined")
	}
}

// joins starts the daemon with an invitation.
func (d *daemon) joins(r invitation) {
	d.t.Helper()
	d.args = []string{"--join", r.Address, "--token", r.Token}
	d.launch()
	d.args = nil
}

// meet waits until each of the hosts has an answer of each other one's actor.
func meet(all ...*daemon) {
	for _, d := range all {
		nc := d.dial()
		for _, other := range all {
			d.until(startLimit, d.at.Host+" has an answer of "+other.at.Host, func() bool {
				_, err := view(nc, messages.HostActor(other.at.Host))
				return err == nil
			})
		}
		nc.Close()
	}
}

// linked says that this host has a link to or from another one; empty = it has none.
func (d *daemon) linked(other string) string {
	d.t.Helper()
	if m := d.sees(other); m.LinkTo || m.LinkFrom {
		return fmt.Sprintf("%s is linked to %s: %v", d.at.Host, other, m)
	}
	return ""
}

// TestTwoHostsJoin: the commands that people type make two hosts a cluster, also after both have started again; wrong ones leave nothing behind.
func TestTwoHostsJoin(t *testing.T) {
	of := func(host string) *daemon { return hostOf(t, host, "") }
	main, pc2 := of("main_pc"), of("pc2")
	main.launch()
	if o := main.cli("cluster", "invite"); o.code == 0 || !strings.Contains(o.err, "modelops cluster init") {
		t.Errorf("a host alone invites: %s", o)
	}
	if out := main.typed("cluster", "init"); !strings.Contains(out, "modelops cluster invite") { // the daemon is up again when it ends
		t.Error(out)
	}
	if !main.announced() {
		t.Fatal("another daemon runs")
	}
	r := main.invites()
	if r.Command != "modelops serve --join "+r.Address+" --token "+r.Token {
		t.Fatal(r)
	}
	if o := pc2.wontServe("--join", r.Address, "--token", r.Token[:20]); o.code == 0 || !strings.Contains(o.err, "no token") {
		t.Errorf("%s", o)
	}
	if o := main.wontServe("--join", r.Address, "--token", r.Token); o.code == 0 || !strings.Contains(o.err, "can't join itself") {
		t.Errorf("%s", o)
	}
	if _, err := os.Stat(filepath.Join(pc2.state(), "cluster")); err == nil {
		t.Error("half joined")
	}
	pc2.args = []string{"--join", r.Address, "--token", r.Token}
	pc2.launch()
	meet(main, pc2)
	if o := of("pc3").wontServe("--join", r.Address, "--token", r.Token); o.code == 0 || !strings.Contains(o.err, "used already, by pc2") {
		t.Errorf("%s", o)
	}
	pc2.kill()
	pc2.launch() // with the same flags
	meet(main, pc2)
	if out := pc2.typed("cluster", "invite"); !strings.Contains(out, "modelops serve --join 127.0.0.1:") { // a member that joined invites too
		t.Error(out)
	}
}
