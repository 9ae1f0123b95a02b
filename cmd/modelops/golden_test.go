package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modelops/actors/entity"
	"modelops/actors/simulator"
	"modelops/journal"
	"modelops/messages"
)

var update = flag.Bool("update", false, "record testdata/journal/crowd.jsonl when it is missing")

const (
	crowdPath  = "../../testdata/journal/crowd.jsonl"
	crowdLines = 600
	crowdSeed  = 118 // its first decisions hold 40 types of events
)

// crowd is a rough world of two hosts: models that are split, grouped, put to sleep and replicated on three devices.
func crowd(seed uint64) simulator.Options {
	const size = messages.GiB
	return simulator.Options{Seed: seed, Hosts: 2, Devices: []uint64{24 * size, 24 * size, 24 * size}, Rate: 3, Defrag: "auto",
		Faults: simulator.Rough(), Models: []simulator.Model{
			{Name: "a", Estimate: 4 * size, Truth: 4 * size, Load: time.Second, MinResidency: 15 * time.Second, Weight: 3, MaxReplicas: 3, Places: 2},
			{Name: "b", Estimate: 8 * size, Truth: 7 * size, Load: 2 * time.Second, Idle: 20 * time.Second, Sleep: 2 * time.Second, MinReplicas: 2, MaxReplicas: 2},
			{Name: "c", Estimate: 12 * size, Truth: 13 * size, Load: 4 * time.Second, MinResidency: 20 * time.Second, MaxReplicas: 2, Places: 1},
			{Name: "e", Estimate: 14 * size, Truth: 12 * size, Load: 3 * time.Second, Groups: []string{"big"}},
			{Name: "f", Estimate: 15 * size, Truth: 15 * size, Load: 3 * time.Second, Groups: []string{"big"}, Places: 1},
			{Name: "g", Estimate: 20 * size, Truth: 18 * size, Load: 3 * time.Second, Shards: 2},
		}}
}

// decisions are the first ones of a crowd.
func decisions(t *testing.T, seed uint64, n int) (out []entity.Append) {
	t.Helper()
	o := crowd(seed)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	o.Stored = func(a entity.Append, _ uint64) {
		if out = append(out, a); len(out) >= n {
			stop()
		}
	}
	if err := simulator.New(o).Run(ctx, 200*n); err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
	return out[:n]
}

// A journal on a disk holds the decisions of a crowd of requests. With -update it becomes a golden journal; an existing one is never recorded
// again.
func TestGoldenCrowd(t *testing.T) {
	_, err := os.Stat(crowdPath)
	record := *update && os.IsNotExist(err)
	n := 40
	if record {
		n = crowdLines
	}
	decided := decisions(t, crowdSeed, n)
	lines := recorded(t, decided)
	for i, line := range lines {
		var types []string
		for _, e := range decided[i].Events {
			types = append(types, messages.EventName(e))
		}
		if !slices.Equal(line.Types, types) {
			t.Errorf("sequence %d holds %v, %s decided %v", line.Sequence, line.Types, decided[i].Actor, types)
		}
	}
	if !record || t.Failed() {
		return
	}
	var out strings.Builder
	for _, line := range lines {
		j, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(j, '\n'))
	}
	if err := os.WriteFile(crowdPath, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// added are the headers of a message that say where the server found it. They are not on the disk.
var added = []string{jetstream.SequenceHeader, jetstream.StreamHeader, jetstream.SubjectHeader, jetstream.TimeStampHeaer}

// goldenLine is one decision as it lies in a journal.
type goldenLine struct {
	Subject  string            `json:"subject"`
	Sequence uint64            `json:"sequence"`
	Headers  map[string]string `json:"headers"`
	Types    []string          `json:"types"`
	Body     string            `json:"body"`
}

// recorded appends decisions to a journal, closes and opens it, and reads what its stream holds.
func recorded(t *testing.T, decided []entity.Append) (out []goldenLine) {
	t.Helper()
	o := journal.Options{Dir: t.TempDir(), Host: "sim", BootID: "boot-crowd", Port: -1}
	open := func() *journal.Journal {
		j, err := journal.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Close() })
		return j
	}
	j := open()
	for i, a := range decided {
		a.Meta.Caller = "f00d"
		sequence, err := j.Append(t.Context(), journal.Append{Actor: a.Actor, Expected: a.Expected, Events: a.Events, Meta: a.Meta, At: a.At})
		if err != nil || sequence != uint64(i+1) {
			t.Fatalf("decision %d: sequence %d, %v", i+1, sequence, err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	nc, err := open().Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "JOURNAL")
	if err != nil {
		t.Fatal(err)
	}
	for i := range decided {
		m, err := stream.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		line := goldenLine{Subject: m.Subject, Sequence: m.Sequence, Headers: map[string]string{}, Body: base64.StdEncoding.EncodeToString(m.Data)}
		for k := range m.Header {
			if !slices.Contains(added, k) {
				line.Headers[k] = m.Header[k][0]
			}
		}
		line.Types = strings.Split(line.Headers["Modelops-Types"], ",")
		out = append(out, line)
	}
	return out
}
