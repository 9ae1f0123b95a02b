//go:build e2e

package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// hangLimit is when a whole input counts as never answered: queue_timeout of the tested daemon and much more.
const hangLimit = time.Minute

// shot is one input. A whole one has to be answered; another may only be left, and then its connection has to end.
type shot struct {
	text  []byte
	whole bool
}

// gate is a door and how inputs are thrown at it. throw returns a word for the tally, and what is wrong.
type gate struct {
	name    string
	callers int // at the same time
	throw   func(c *chaos, s spoiler) (input []byte, code, fault string)
}

// overSocket is a gate that takes bytes at an address.
func overSocket(name string, address func(addresses) string, input func(spoiler) shot, answered func(said, asked []byte) bool, judge func([]byte) (string, string)) gate {
	return gate{name, 4, func(c *chaos, s spoiler) ([]byte, string, string) {
		in := input(s)
		said, fault := throw(address(c.at), in, answered)
		if fault != "" {
			return in.text, "", fault
		}
		code, fault := judge(said)
		if fault != "" {
			fault += fmt.Sprintf(" (it said ...%q)", said[max(0, len(said)-300):])
		}
		return in.text, code, fault
	}}
}

func gates(t *testing.T) []gate {
	r := routesOf(t)
	at := func(a addresses) string { return strings.TrimPrefix(a.HTTP, "http://") }
	return []gate{
		overSocket("openai", at, func(s spoiler) shot { return s.openAI(r) }, nil, judgeHTTP),
		overSocket("rest", at, func(s spoiler) shot { return s.rest(r) }, nil, judgeHTTP),
		overSocket("pages", at, func(s spoiler) shot { return s.pages(r) }, nil, judgeHTTP),
		overSocket("grpc", func(a addresses) string { return a.GRPC }, spoiler.grpc, endedGRPC, judgeGRPC),
		overSocket("nats", func(a addresses) string { return strings.TrimPrefix(a.NATS, "nats://") }, spoiler.nats, answeredNATS, judgeNATS),
		{"check", 2, checks},
		{"apply", 1, applies},
		{"cli", 2, typed},
		{"start", 2, starts()},
	}
}

const fuzzKey = "fuzz-key-of-the-inputs"

const inputsConfig = `
    tiny: {runtime: embedded, path: TINY, vram_mb: 200}
keys:
  - {name: fuzz, key: ` + fuzzKey + `, role: operate}
resilience: {bulkhead: {queue_timeout: 10s}}
`

// startInputs is a daemon with a model, good, that no input names: it has to answer all the time.
func startInputs(t *testing.T) *chaos {
	t.Helper()
	c := prepareChaos(t, plays(t, "good", "--load 30ms", "vram_mb: 100", "pinned: true")+inputsConfig)
	c.launch()
	c.ensure("good")
	c.client, c.caller, c.scratch = c.grpc(), c.nats(), t.TempDir()
	c.files = c.configurations()
	c.own = c.files[len(c.files)-1]
	caller, err := nats.Connect(c.at.NATS, nats.Token(fuzzKey)) // so that its account is served before and after the inputs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(caller.Close)
	return c
}

// fusillade throws inputs at a gate, and asks for an answer of the good model now and then.
func (c *chaos) fusillade(g gate, inputs int) {
	c.t.Helper()
	var mu sync.Mutex
	var next, faults int
	tally := map[string]int{}
	only, err := strconv.Atoi(os.Getenv("INPUT")) // to repeat one
	if err == nil {
		next, inputs = only, only+1
	}
	operator := c.operatorKey()
	began := time.Now()
	take := func() (i int, more bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= inputs && faults < 20
	}
	var callers sync.WaitGroup
	for range g.callers {
		callers.Go(func() {
			for i, more := take(); more; i, more = take() {
				s := spoilerOf(c.seed, g.name, i)
				s.key, s.operator = fuzzKey, operator
				input, code, fault := g.throw(c, s)
				if fault == "" && i%25 == 24 {
					fault = c.serves()
				}
				mu.Lock()
				if tally[code]++; fault != "" {
					faults++
					c.t.Errorf("%s: %s. Again: CHAOS_SEED=%d INPUT=%d INPUTS=1 go test -tags e2e -run TestChaosInputs/%s ./cmd/modelops/e2e\n%.600q", g.name, fault, c.seed, i, g.name, input)
				}
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	c.t.Logf("%s: %d inputs in %s", g.name, inputs, time.Since(began).Round(time.Millisecond))
	for _, code := range slices.Sorted(maps.Keys(tally)) {
		c.t.Logf("  %6d %s", tally[code], code)
	}
}

// serves is empty when the good model answers at each door.
func (c *chaos) serves() string {
	if code, status := askAt(c.t.Context(), c.at.HTTP, "good"); status != 200 {
		return fmt.Sprintf("the good model answers no longer over HTTP: %d %s", status, code)
	}
	if _, err := c.client.Infer(c.t.Context(), &messages.InferenceRequest{ModelName: "good", Prompt: "hello"}); err != nil {
		return fmt.Sprintf("the good model answers no longer over gRPC: %v", err)
	}
	if _, err := ask(c.caller, "infer.good", object{"prompt": "hello"}); err != nil {
		return fmt.Sprintf("the good model answers no longer over NATS: %v", err)
	}
	return ""
}

// grown says what of the daemon an input made larger for good: its memory, or names of its own in /metrics.
func (c *chaos) grown(before float64) string {
	page := string(c.get("/metrics").body)
	for _, text := range oddTexts {
		if len(text) > 256 && strings.Contains(page, text[:40]) { // nothing may have so long a name
			return fmt.Sprintf("a series has the name that a caller gave: %.80q", text)
		}
	}
	const slack = 64 << 20 // what garbage collection leaves
	if now := c.metric(heapMetric); now > before+slack {
		return fmt.Sprintf("its heap has %.0f bytes, before it had %.0f", now, before)
	}
	return ""
}

const heapMetric = "go_memstats_heap_inuse_bytes"

// oddBytes is the first line with bytes that steer a terminal or are no text, or that no logger wrote.
func oddBytes(log string) string {
	for line := range strings.Lines(log) {
		if !utf8.ValidString(line) || strings.Contains(line, "ERROR: ") || strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
			return line
		}
	}
	return ""
}

// tidy takes back what valid inputs were granted: keys, and their accounts on NATS, would else stay.
func (c *chaos) tidy() {
	c.t.Helper()
	keys, err := c.client.ListKeys(c.t.Context(), &emptypb.Empty{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, k := range keys.Keys {
		_, _ = c.client.RevokeKey(c.t.Context(), &messages.RevokeKeyRequest{Name: k.Fingerprint})
	}
}

// TestChaosInputs throws malformed inputs (INPUTS at each door) under load. No answer is an internal error or without a word, nothing hangs,
// panics or grows, a good request is answered all the time, and ledger, processes and journal agree afterwards.
func TestChaosInputs(t *testing.T) {
	inputs := often("INPUTS", 50)
	for _, g := range gates(t) {
		t.Run(g.name, func(t *testing.T) {
			c := startInputs(t)
			o := c.observer()
			if said := c.serves(); said != "" {
				t.Fatal(said)
			}
			before, heap := c.handles(), c.metric(heapMetric)
			end := c.load("good")
			c.fusillade(g, inputs)
			end()
			if !c.running() || strings.Contains(c.log.String(), "panic") {
				t.Fatalf("CHAOS_SEED=%d: it ended or panicked:\n%s", c.seed, c.log.tail(200))
			}
			if odd := oddBytes(c.log.String()); odd != "" {
				t.Errorf("CHAOS_SEED=%d: its log holds bytes of a caller as they came: %q", c.seed, odd)
			}
			if at := strings.Index(c.log.String(), "code=INTERNAL"); at >= 0 {
				t.Errorf("CHAOS_SEED=%d: it blames itself: %.300s", c.seed, c.log.String()[at:])
			}
			if said := c.serves(); said != "" {
				t.Error(said)
			}
			c.tidy()
			o.settles(fmt.Sprintf("after malformed inputs at %s, CHAOS_SEED=%d", g.name, c.seed))
			c.settlesAt(before)
			if said := c.grown(heap); said != "" {
				t.Errorf("CHAOS_SEED=%d: %s", c.seed, said)
			}
		})
	}
}
