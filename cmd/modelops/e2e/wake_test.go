//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestARequestWakesAHost: a request for a model that only a sleeping host declares waits, has a magic packet sent to that host's network card, and is answered
// once the host is up. When it never wakes, the request ends with a reason and a time to try again. A host that stopped in good order is woken too.
func TestARequestWakesAHost(t *testing.T) {
	t.Parallel() // it waits more than it works
	card, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer card.Close()
	const after = time.Second
	ports := map[string]int{"main_pc": freePort(t), "pc2": freePort(t)}
	of := func(host, other, wake, models string) *daemon {
		return prepare(t, strings.Replace(base, "host: main_pc", "host: "+host, 1)+"resilience: {bulkhead: {queue_timeout: 20s}}\n"+fmt.Sprintf(
			"cluster: {port: %d, actors_port: 0, peers: [{host: %s, address: '127.0.0.1:%d'%s}]}\n", ports[host], other, ports[other], wake)+labDevices(models))
	}
	main := of("main_pc", "pc2", fmt.Sprintf(", wake: {mac: '02:00:5e:10:00:01', after: %s, address: '%s'}", after, card.LocalAddr()), plays(t, "here", "", "vram_mb: 100"))
	pc2 := of("pc2", "main_pc", "", plays(t, "there", "", "vram_mb: 100")+"    own: {path: /proc/self/cwd/own.gguf}\n") // each daemon has a working directory of its own
	holdsAlone(t, pc2, "own.gguf")
	magic := append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat([]byte{2, 0, 0x5e, 0x10, 0, 1}, 16)...)
	rings := func() {
		t.Helper()
		got := make([]byte, 200)
		_ = card.SetReadDeadline(time.Now().Add(waitLimit))
		n, err := card.Read(got)
		if err != nil || !bytes.Equal(got[:n], magic) {
			t.Fatalf("the card heard % x, %v", got[:n], err)
		}
	}
	main.launch()
	pc2.launch()
	meet(main, pc2)
	main.until(waitLimit, "main_pc knows what pc2 declares", func() bool { return strings.Contains(main.cli("models").out, "there") })
	main.says("there", "there")
	for _, c := range []struct {
		name  string
		sleep func()
	}{
		{"it vanishes", func() { pc2.kill() }},
		{"it stops", func() { pc2.stop() }},
		{"it stops, and the host that is asked starts again", func() {
			pc2.stop()
			main.stop()
			main.launch()
			knowsThereStill(t, main)
		}},
		{"it vanishes, and so does the host that is asked", func() {
			pc2.kill()
			main.kill()
			main.launch()
		}},
	} {
		c.sleep()
		asked, answered, own := time.Now(), make(chan answer, 1), make(chan answer, 1)
		go func() { answered <- main.post("/v1/chat/completions", question("there", "hello")) }()
		go func() { own <- main.post("/v1/chat/completions", question("own", france)) }()
		rings()
		if took := time.Since(asked); took < after {
			t.Errorf("%s: it was woken after %s", c.name, took)
		}
		main.says("here", "here")
		pc2.launch()
		if a := <-answered; a.status != 200 {
			t.Errorf("%s: %s", c.name, a)
		}
		if a := <-own; a.status != 200 {
			t.Errorf("%s, a model whose file is there only: %s", c.name, a)
		}
	}
	pc2.kill()
	asked := time.Now()
	a := main.post("/v1/chat/completions", question("there", "hello"))
	if a.status != 503 && a.status != 504 || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "pc2") || time.Since(asked) < after {
		t.Errorf("it never wakes, after %s: %s", time.Since(asked), a)
	}
	rings()
	pc2.launch()
	main.until(waitLimit, "the model is there again", func() bool { return main.post("/v1/chat/completions", question("there", "hello")).status == 200 })
}

// holdsAlone puts a small model's file into a daemon's working directory, which no other daemon has.
func holdsAlone(t *testing.T, d *daemon, name string) {
	t.Helper()
	file, err := os.ReadFile(tiny())
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, name), file, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// knowsThereStill checks that a host that was started again shows the models of pc2, which is off, with their age.
func knowsThereStill(t *testing.T, main *daemon) {
	t.Helper()
	if o := main.cli("models"); !strings.Contains(o.out, "there") || !strings.Contains(o.out, "pc2 can't be reached: what it shows is ") {
		t.Errorf("models after a restart: %s", o)
	}
	if o := main.cli("cluster"); !strings.Contains(o.out, "it declared own, there, as it said ") {
		t.Errorf("cluster after a restart: %s", o)
	}
	var list struct {
		Data []struct {
			ID   string
			Meta struct {
				Host  string
				AgeMs int64 `json:"age_ms"`
			}
		}
	}
	a := main.get("/v1/models?host=pc2")
	if json.Unmarshal(a.body, &list) != nil || len(list.Data) != 2 || list.Data[1].ID != "there" || list.Data[1].Meta.Host != "pc2" || list.Data[1].Meta.AgeMs < 1 {
		t.Errorf("/v1/models after a restart: %s", a)
	}
}
