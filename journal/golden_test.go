package journal

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

var update = flag.Bool("update", false, "add decisions of event types that no golden journal holds yet, and freeze the golden journals")

// goldenLine is one decision as it lay in a journal of a released schema.
type goldenLine struct {
	Subject  string            `json:"subject"`
	Sequence uint64            `json:"sequence"`
	Headers  map[string]string `json:"headers"`
	Types    []string          `json:"types"`
	Body     string            `json:"body"` // base64 of the Decision
}

// The golden journals. A file holds one journal or several: sequence 1 begins the next one. They are frozen: lines and files are only added.
//
//	fields.jsonl   each event type in each version, with every field filled
//	stories.jsonl  a journal for each story of testdata/<kind>
//	crowd.jsonl    a simulated crowd that a journal on a disk recorded (cmd/modelops)
//	frozen         how many lines of each file are frozen, and their hash
const (
	goldenDir  = "../testdata/journal"
	frozenPath = goldenDir + "/frozen"
	fieldsPath = goldenDir + "/fields.jsonl"
	talesPath  = goldenDir + "/stories.jsonl"
)

func goldenPaths(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(goldenDir, "*.jsonl"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden journals in %s: %v", goldenDir, err)
	}
	return paths
}

// Journals of every released schema are readable for ever, and hold each event type in each version.
func TestGoldenJournals(t *testing.T) {
	if *update {
		writeFields(t)
		writeStories(t)
	}
	seen := map[string]bool{}
	for _, path := range goldenPaths(t) {
		var c *chain
		for _, line := range readGolden(t, path) {
			if line.Sequence == 1 {
				c = newChain(Query{})
			}
			body, err := base64.StdEncoding.DecodeString(line.Body)
			if err != nil || !wholeDecision(body) {
				t.Fatalf("%s sequence %d: not a decision (%v)", path, line.Sequence, err)
			}
			var h heads
			for k, v := range line.Headers {
				h.set(k, v)
			}
			err = deliver(stored{subject: []byte(line.Subject), sequence: line.Sequence, head: h, body: body}, c, Query{}, func(r messages.Recorded) error {
				checkGolden(t, path, line, r)
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			for _, held := range versionsIn(t, body) {
				seen[held] = true
			}
		}
	}
	for _, name := range eventsOfRooms() {
		for v := range versionOf(t, name) {
			if held := fmt.Sprintf("%s version %d", name, v+1); !seen[held] {
				t.Errorf("no golden journal holds %s; make freeze records it", held)
			}
		}
	}
}

// eventsOfRooms lists the event types of kinds whose room is built. Nothing writes the others yet.
func eventsOfRooms() []string {
	return slices.DeleteFunc(messages.EventNames(), func(name string) bool {
		kind, _, _ := strings.Cut(name, ".")
		_, err := os.Stat("../actors/" + kind)
		return err != nil
	})
}

// versionsIn lists the event types of a decision with the versions in which they were written.
func versionsIn(t *testing.T, body []byte) (out []string) {
	t.Helper()
	d := new(messages.Decision)
	if err := proto.Unmarshal(body, d); err != nil {
		t.Fatal(err)
	}
	for _, e := range d.Events {
		out = append(out, fmt.Sprintf("%s version %d", e.Type, e.Version))
	}
	return out
}

// versionOf is the version in which this build writes an event type.
func versionOf(t *testing.T, name string) uint32 {
	t.Helper()
	d, err := messages.Seal([]proto.Message{empty(t, name)})
	if err != nil {
		t.Fatal(err)
	}
	return d.Events[0].Version
}

// A golden journal is evidence of what a released build wrote, so it is never changed: a changed line fails.
func TestGoldenJournalsAreFrozen(t *testing.T) {
	frozen, err := os.ReadFile(frozenPath)
	if err != nil && !*update {
		t.Fatal(err)
	}
	held := map[string]int{}
	for row := range strings.Lines(string(frozen)) {
		var lines int
		var file, hash string
		if _, err := fmt.Sscan(row, &hash, &lines, &file); err != nil {
			t.Fatalf("%s: %q: %v", frozenPath, row, err)
		}
		held[file] = lines
		if got := hashOf(t, file, lines); got != hash {
			t.Errorf("%s: its first %d lines have changed. Rule: golden journals only grow. Reason: journals of released builds stay as they are. "+
				"Instead: restore the file; record what is new behind the frozen lines or in a new file.", file, lines)
		}
	}
	if t.Failed() {
		return
	}
	var now strings.Builder
	for _, path := range goldenPaths(t) {
		file, lines := filepath.Base(path), len(readGolden(t, path))
		if held[file] != lines && !*update {
			t.Errorf("%s has %d lines, of which %d are frozen; make freeze freezes them", file, lines, held[file])
		}
		fmt.Fprintln(&now, hashOf(t, file, lines), lines, file)
	}
	if *update {
		if err := os.WriteFile(frozenPath, []byte(now.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// hashOf is the hash of a golden file's first lines.
func hashOf(t *testing.T, file string, lines int) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldenDir, file))
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for line := range strings.Lines(string(b)) {
		if lines--; lines < 0 {
			break
		}
		h.Write([]byte(line))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func checkGolden(t *testing.T, path string, line goldenLine, r messages.Recorded) {
	t.Helper()
	var types []string
	for _, e := range r.Events {
		types = append(types, messages.EventName(e))
		if n := len(e.ProtoReflect().GetUnknown()); n != 0 {
			t.Errorf("%s sequence %d: %s has %d bytes in fields that this build doesn't know", path, r.Sequence, messages.EventName(e), n)
		}
	}
	if !slices.Equal(types, line.Types) || strings.Join(types, ",") != line.Headers[headTypes] {
		t.Errorf("%s sequence %d holds %v, once they were %v", path, r.Sequence, types, line.Types)
	}
	if r.Actor.String() != line.Headers[headActor] || r.ID == "" || r.At.IsZero() || r.BootID == "" {
		t.Errorf("%s sequence %d: %+v", path, r.Sequence, r)
	}
}

func readGolden(t *testing.T, path string) []goldenLine {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []goldenLine
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var line goldenLine
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out = append(out, line)
	}
	if in.Err() != nil {
		t.Fatal(in.Err())
	}
	return out
}
