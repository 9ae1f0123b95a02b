//go:build e2e

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"modelops/bridges/certs"
	"modelops/messages"
)

// TestAHubIsJoined: a host alone joins a NATS cluster as a leaf, says whether it is reached, starts and serves without it, and finds it again.
func TestAHubIsJoined(t *testing.T) {
	t.Parallel() // it waits more than it works
	h := startHub(t)
	d := prepare(t, base+h.section("main_pc", "")+"models: {declare: {tiny: {runtime: embedded, path: TINY}}}\n")
	d.write("hub.password", hubPassword+"\n")
	d.launch()
	reached := func() bool {
		return strings.Contains(d.typed("cluster"), ": reached") && !strings.Contains(string(d.get("/health").body), "hub")
	}
	d.until(startLimit, "the hub is reached", reached)
	h.kill(h.nodes...)
	d.until(startLimit, "it is said that the hub is off", func() bool {
		a := d.get("/health")
		return strings.Contains(d.typed("cluster"), ": not reached: ") && strings.Contains(string(a.body), "the hub of nats.hub isn't reached") && a.status == 200
	})
	d.answers("tiny")
	if code := d.stop(); code != 0 {
		t.Error(code)
	}
	d.launch()
	d.answers("tiny")
	h.start(h.nodes...)
	d.until(startLimit, "the hub is reached again", reached)
	d.stop()
	d.write("hub.password", "another\n")
	d.launch()
	d.until(startLimit, "a wrong password is told", func() bool {
		return strings.Contains(strings.ToLower(d.typed("cluster")), "not reached: ") && strings.Contains(strings.ToLower(string(d.get("/health").body)), "authorization")
	})
	d.answers("tiny")
}

// nowhere is an address that no network has (RFC 5737): whatever a host advertises there is reached by nobody.
const nowhere = "192.0.2.1"

// atHub are two hosts with certificates of one CA that know no working address of each other: there is nothing but the hub between them.
func atHub(t *testing.T, h *hub, nats string, sections func(host string) string) (main, pc2 *daemon) {
	t.Helper()
	ca, _, err := certs.Init(t.TempDir(), "cluster", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	of := func(host, other string) *daemon {
		d := prepare(t, strings.Replace(base, "host: main_pc", "host: "+host, 1)+h.section(host, nats)+
			fmt.Sprintf("cluster: {port: 0, actors_port: 0, advertise: '%s:1', ca: ca.pem, cert: host.pem, key: host.key, peers: [{host: %s}]}\n", nowhere, other)+sections(host))
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.IssueMember(host, key.Public(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		d.write("hub.password", hubPassword)
		d.write("host.pem", string(cert))
		d.write("host.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
		d.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate().Raw})))
		d.launch()
		return d
	}
	return of("main_pc", "pc2"), of("pc2", "main_pc")
}

// members is what a host says of the cluster.
func members(d *daemon) *messages.ClusterView {
	d.t.Helper()
	v := new(messages.ClusterView)
	if err := protojson.Unmarshal([]byte(d.typed("cluster", "--json")), v); err != nil {
		d.t.Fatal(err)
	}
	return v
}

// TestHostsAtTheHub: two hosts without a link of their own are one cluster over the hub: members, questions to owners, requests, copies of journals. A
// server of the hub dies: they go on. All die: each host serves on alone. They come back: so does the cluster.
func TestHostsAtTheHub(t *testing.T) {
	t.Parallel() // it waits more than it works
	h := startHub(t)
	main, pc2 := atHub(t, h, "", func(host string) string {
		model := map[string]string{"main_pc": "here", "pc2": "there"}[host]
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {preload: [{name: %s}], declare: {%[1]s: %s}}\n", model, worker(t, ""))
	})
	other := map[*daemon]string{main: "pc2", pc2: "main_pc"}
	together := func() {
		t.Helper()
		for d, host := range other {
			d.until(startLimit, "the other host is a member, and its journal is copied", func() bool {
				for _, m := range members(d).Members {
					if m.Host == host {
						return m.State == messages.MemberView_alive && m.LinkTo && m.LinkFrom && m.ByHub && m.Copied > 0 && m.Copied == m.Sequence
					}
				}
				return false
			})
			nc := d.dial()
			d.until(startLimit, "the other host's actor answers", func() bool {
				s, err := view(nc, messages.HostActor(host))
				return err == nil && s.Actor == "host/"+host
			})
			nc.Close()
			for _, model := range []string{"here", "there"} {
				d.until(startLimit, "a model of any host answers", func() bool { return d.post("/v1/chat/completions", chatBody(model, "")).status == 200 })
			}
			if out := d.typed("journal", "tail", "--host", host); strings.Count(out, "\n") < 5 {
				t.Errorf("the copy of %s: %s", host, out)
			}
		}
		main.until(startLimit, "both hosts follow one arbiter", func() bool {
			a, b := members(main).Arbiter, members(pc2).Arbiter
			return a != "" && a == b
		})
	}
	together()
	h.kill(h.nodes[0])
	together()
	h.start(h.nodes[0])
	h.kill(h.nodes...)
	for d, host := range other {
		d.until(startLimit, "the other host can't be reached", func() bool {
			for _, m := range members(d).Members {
				if m.Host == host {
					return m.State == messages.MemberView_unreachable && !m.LinkTo
				}
			}
			return false
		})
	}
	for d, model := range map[*daemon]string{main: "here", pc2: "there"} {
		if a := d.post("/v1/chat/completions", chatBody(model, "")); a.status != 200 {
			t.Errorf("without the hub: %s", a)
		}
		d.typed("unload", model)
		d.until(startLimit, "a model is loaded without the hub", func() bool { return d.post("/v1/chat/completions", chatBody(model, "")).status == 200 })
	}
	h.start(h.nodes...)
	together()
}

// TestArchiveAtTheHub: the hub keeps a host's journal in three copies, also while one of its servers is dead. With the whole hub off decisions go on; they are
// archived when it is back. A host that has lost its journal gets it back from there.
func TestArchiveAtTheHub(t *testing.T) {
	t.Parallel() // it waits more than it works
	h := startHub(t)
	d := prepare(t, base+h.section("main_pc", ", hub_domain: hub")+"journal: {archive: hub}\nmodels: {declare: {tiny: {runtime: embedded, path: TINY}}}\n")
	d.write("hub.password", hubPassword)
	d.launch()
	var at *messages.ArchiveView
	caughtUp := func() {
		t.Helper()
		at = d.archived()
	}
	copies := func(current int) {
		t.Helper()
		until(t, startLimit, "the hub has its copies", func() bool {
			nc, js, err := h.client()
			if err != nil {
				return false
			}
			defer nc.Close()
			s, err := js.Stream(t.Context(), at.Stream)
			if err != nil {
				return false
			}
			c := s.CachedInfo()
			n := 1 // the leader
			for _, r := range c.Cluster.Replicas {
				if r.Current && !r.Offline {
					n++
				}
			}
			return c.Config.Replicas == 3 && c.Cluster.Leader != "" && n >= current && c.State.LastSeq >= at.Archived && c.State.Msgs == c.State.LastSeq
		})
	}
	d.answers("tiny")
	caughtUp()
	copies(3)
	first := at.Stream
	h.kill(h.nodes[0])
	d.decide(20)
	caughtUp()
	copies(2)
	h.kill(h.nodes...)
	d.decide(40) // twenty of them are new
	d.answers("tiny")
	d.until(startLimit, "it is said that the archive stands still", func() bool {
		a := members(d).Hub.GetArchive()
		return a.GetNote() != "" && a.GetArchived() < a.GetSequence()
	})
	d.saysBehind("modelops_archive_lag_events")
	h.start(h.nodes...)
	caughtUp()
	copies(3)
	d.until(startLimit, "the metric says that all is archived", func() bool { return d.metric("modelops_archive_lag_events") == 0 })
	if code := d.stop(); code != 0 {
		t.Error(code)
	}
	d.launch()
	caughtUp()
	if at.Stream != first {
		t.Errorf("the archive was %s and is %s", first, at.Stream)
	}
	if code := d.stop(); code != 0 {
		t.Error(code)
	}
	if err := os.RemoveAll(d.journalDir()); err != nil {
		t.Fatal(err)
	}
	if out := d.typed("restore", "main_pc", "--from", "hub"); !strings.Contains(out, "nothing is lost") {
		t.Error(out)
	}
	before := at.Archived
	d.launch()
	caughtUp()
	if at.Stream != first || at.Archived <= before {
		t.Errorf("after the restore the archive is %s with %d decisions; it was %s with %d", at.Stream, at.Archived, first, before)
	}
	d.wholeJournal()
}

// saysBehind demands that the metric, `modelops cluster` and `modelops journal copies` say how many decisions the hub lacks.
func (d *daemon) saysBehind(metric string) {
	d.t.Helper()
	a := members(d).Hub.Archive
	behind := a.Sequence - a.Archived
	if n := d.metric(metric); n < float64(behind) {
		d.t.Errorf("the metric says that %v decisions are missing, want %d or more", n, behind)
	}
	for _, command := range []string{"cluster", "journal copies"} {
		if out := d.typed(strings.Fields(command)...); !strings.Contains(out, fmt.Sprint(behind)) || !strings.Contains(out, "isn't archived at the hub") {
			d.t.Errorf("%s doesn't say that %d decisions are missing, and why:\n%s", command, behind, out)
		}
	}
}
