//go:build e2e

package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelops/bridges/certs"
	"modelops/messages"
)

// TestAHubWithTLS: a host joins a hub over TLS by the hub's own CA, with a user. With another CA, and with another password, log and `modelops cluster` say what
// to correct, the host serves alone, and joins by itself once the hub is mended.
func TestAHubWithTLS(t *testing.T) {
	t.Parallel() // it waits more than it works
	authority := func() (ca, cert, key string) {
		dir := t.TempDir()
		cert, key, err := authorityOf(t, dir, time.Now()).Issue(certs.Request{Name: "hub", SANs: []string{"127.0.0.1"}, Life: 24 * time.Hour}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "ca.crt"), cert, key
	}
	ca, cert, key := authority()
	_, otherCert, otherKey := authority()
	h := startHub(t)
	h.kill(h.nodes...)
	set := func(cert, key, password string) {
		t.Helper()
		h.kill(h.nodes...)
		for _, n := range h.nodes {
			n.Cert, n.Key, n.Password = cert, key, password
		}
		h.start(h.nodes...)
	}
	set(otherCert, otherKey, "")
	d := prepare(t, base+h.section("main_pc", fmt.Sprintf(", hub_ca: %q", ca))+"models: {declare: {tiny: {runtime: embedded, path: TINY}}}\n")
	d.write("hub.password", hubPassword)
	d.launch()
	refused := func(why string) {
		t.Helper()
		d.until(startLimit, "it is said why the hub isn't reached", func() bool {
			return strings.Contains(d.typed("cluster"), ": not reached: "+why) && strings.Contains(string(d.get("/health").body), why) && strings.Contains(d.log.String(), why)
		})
		d.answers("tiny")
		d.typed("unload", "tiny")
		d.answers("tiny")
	}
	reached := func() {
		t.Helper()
		d.until(startLimit, "the hub is reached", func() bool { return strings.Contains(d.typed("cluster"), ": reached") })
	}
	refused("nats.hub_ca isn't the CA of the hub's certificate")
	set(cert, key, "")
	reached()
	set(cert, key, "another")
	refused("the hub refuses this host's user")
	set(cert, key, "")
	reached()
}

// TestAClusterAtTheHubAlone: between two hosts there is nothing but a hub of three servers. All that a cluster does works over it: a request at one host is served by the model of the
// other, each explains, watches and empties the other and leases its memory, the arbiter moves when its host dies, and the cluster is whole when that is back.
func TestAClusterAtTheHubAlone(t *testing.T) {
	t.Parallel() // it waits more than it works
	h := startHub(t)
	main, pc2 := atHub(t, h, "", func(host string) string {
		own := map[string]string{"main_pc": "here", "pc2": "there"}[host]
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {declare: {%s: %s, both: %[2]s}}\n", own, worker(t, ""))
	})
	agreed := func() (seat string) {
		t.Helper()
		main.until(startLimit, "both hosts follow one arbiter, over the hub", func() bool {
			a, b := members(main), members(pc2)
			seat = a.Arbiter
			for _, v := range []*messages.ClusterView{a, b} {
				for _, m := range v.Members {
					if !m.Self && !(m.State == messages.MemberView_alive && m.LinkTo && m.LinkFrom && m.ByHub) {
						return false
					}
				}
			}
			return a.Arbiter == b.Arbiter && a.ArbiterEpoch > 0 && a.ArbiterEpoch == b.ArbiterEpoch && len(a.Members) == 2
		})
		return seat
	}
	agreed()
	for _, m := range members(main).Members { // nor is protoactor's remote of the other host reached
		if !m.Self && !strings.HasPrefix(m.ActorsAddress, nowhere+":") {
			t.Errorf("%s has its actors at %q", m.Host, m.ActorsAddress)
		}
	}
	asks := func(d *daemon, model, host string) {
		t.Helper()
		d.until(startLimit, model+" answers by "+host, func() bool {
			resp, err := d.send(t.Context(), "POST", "/v1/chat/completions", chatBody(model, ""))
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == 200 && resp.Header.Get("X-Modelops-Host") == host
		})
	}
	asks(main, "there", "pc2")
	asks(pc2, "here", "main_pc")

	// why
	for d, model := range map[*daemon]string{main: "there", pc2: "here"} {
		host := map[string]string{"here": "main_pc", "there": "pc2"}[model]
		d.until(startLimit, "the other host's model is explained by its own host", func() bool {
			x, err := d.control(t).Why(t.Context(), &messages.WhyRequest{Subject: model})
			return err == nil && x.Host == host && x.SaidBy == host && strings.Contains(x.Summary, model+" is ready on gpu0")
		})
	}

	watchesTheOther(t, main)
	leasesOfTheOther(t, main, pc2)
	drainsTheOther(t, main, pc2)
	asks(pc2, "both", "main_pc")

	// The arbiter moves.
	dead, other := main, pc2
	main.until(startLimit, "the seat is free to move", func() bool { return !members(pc2).Apart })
	if agreed() == "pc2" {
		dead, other = pc2, main
	}
	epoch := members(other).ArbiterEpoch
	dead.kill()
	began := time.Now()
	other.until(startLimit, "the arbiter moves", func() bool {
		v := members(other)
		return v.Arbiter == v.Host && v.ArbiterEpoch > epoch
	})
	t.Logf("the arbiter moved within %s", time.Since(began).Round(time.Millisecond))
	asks(other, map[bool]string{true: "here", false: "there"}[other == main], map[bool]string{true: "main_pc", false: "pc2"}[other == main])
	dead.launch()
	agreed()
	asks(main, "there", "pc2")
	asks(pc2, "here", "main_pc")
}

// watchesTheOther watches at main_pc what pc2 decides.
func watchesTheOther(t *testing.T, main *daemon) {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), waitLimit)
	defer end()
	resp, err := main.send(ctx, "GET", "/api/watch?host=pc2", nil, "Accept", "text/event-stream")
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	in.Scan() // the stream has begun
	main.typed("unload", "there", "--host", "pc2")
	seen := false
	for !seen && in.Scan() {
		seen = strings.Contains(in.Text(), "model.unwanted") && strings.Contains(in.Text(), "model/pc2/there")
	}
	if !seen {
		t.Error("main_pc's watch doesn't show what pc2 decided:", in.Err())
	}
}

// leasesOfTheOther holds memory of pc2 for a command on main_pc, and gives it back.
func leasesOfTheOther(t *testing.T, main, pc2 *daemon) {
	t.Helper()
	gate := filepath.Join(t.TempDir(), "end")
	b := main.borrows("--host", "pc2", "--vram", "1G", "--ttl", "2s", "--name", "trainer", "--", "sh", "-c", `until [ -e "$0" ]; do sleep 0.05; done; exit 7`, gate)
	pc2.until(waitLimit, "the lease is renewed over the hub", func() bool { return pc2.count(messages.GPUActor("pc2", "gpu0"), "gpu.lease_renewed") >= 2 })
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := b.ends(main, waitLimit); code != 7 {
		t.Errorf("exit code %d: %s", code, b.err)
	}
	pc2.until(waitLimit, "the memory is given back", func() bool { return len(pc2.leased()) == 0 })
}

// drainsTheOther empties pc2 from main_pc, and ends that.
func drainsTheOther(t *testing.T, main, pc2 *daemon) {
	t.Helper()
	main.typed("load", "both", "--host", "pc2")
	pc2.awaitAt("pc2", "both", "ready")
	if r := main.cli("drain", "pc2", "--wait"); r.code != 0 {
		t.Errorf("%s", r)
	}
	main.awaitAt("main_pc", "both", "ready")
	pc2.awaitAt("pc2", "both", "absent")
	if r := main.cli("drain", "pc2", "--undo"); r.code != 0 {
		t.Errorf("%s", r)
	}
}
