//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"modelops/messages"
)

// TestTwoDaemonsAskEachOther: two hosts that declare each other, without certificates, over loopback.
func TestTwoDaemonsAskEachOther(t *testing.T) {
	ports := map[string]int{"main_pc": freePort(t), "pc2": freePort(t)}
	of := func(host, other string) *daemon {
		config := strings.Replace(base, "host: main_pc", "host: "+host, 1)
		return prepare(t, config+fmt.Sprintf("cluster: {port: %d, actors_port: 0, peers: [{host: %s, address: '127.0.0.1:%d'}]}\n", ports[host], other, ports[other]))
	}
	main, pc2 := of("main_pc", "pc2"), of("pc2", "main_pc")
	main.launch()
	pc2.launch()
	for d, other := range map[*daemon]string{main: "pc2", pc2: "main_pc"} {
		nc := d.dial()
		defer nc.Close()
		d.until(startLimit, "the other host's actor answers", func() bool {
			s, err := view(nc, messages.HostActor(other))
			return err == nil && s.Sequence > 0 && s.Actor == "host/"+other
		})
	}
	nc := main.dial()
	defer nc.Close()
	pc2.cmd.Process.Kill()
	main.until(startLimit, "a dead host is told as such", func() bool {
		_, err := view(nc, messages.HostActor("pc2"))
		return err != nil && strings.Contains(err.Error(), "host pc2 can't be reached")
	})
	pc2.launch()
	main.until(startLimit, "pc2 is back", func() bool {
		_, err := view(nc, messages.HostActor("pc2"))
		return err == nil
	})
}
