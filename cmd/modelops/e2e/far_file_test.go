//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestAFileOfAnotherHost: a model whose file lies on its own host only is loaded there for a request that comes in here, although its memory can't be estimated here.
func TestAFileOfAnotherHost(t *testing.T) {
	ports := map[string]int{"main_pc": freePort(t), "pc2": freePort(t)}
	of := func(host, other, models string) *daemon {
		return prepare(t, strings.Replace(base, "host: main_pc", "host: "+host, 1)+fmt.Sprintf(
			"cluster: {port: %d, actors_port: 0, peers: [{host: %s, address: '127.0.0.1:%d'}]}\n", ports[host], other, ports[other])+models)
	}
	main := of("main_pc", "pc2", "")
	pc2 := of("pc2", "main_pc", "models: {declare: {own: {path: /proc/self/cwd/own.gguf}}}\n") // each daemon has a working directory of its own
	holdsAlone(t, pc2, "own.gguf")
	main.launch()
	pc2.launch()
	meet(main, pc2)
	main.until(waitLimit, "main_pc knows what pc2 declares", func() bool { return strings.Contains(main.cli("models").out, "own") })
	if a := main.post("/v1/chat/completions", question("own", france)); a.status != 200 || !strings.Contains(string(a.body), paris) {
		t.Errorf("%s", a)
	}
}
