package messages

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// raised lets an event have a later version, with the steps to it, for one test.
func raised(t *testing.T, name string, steps ...Upcaster) {
	t.Helper()
	now := eventByName[name]
	later := now
	later.version += uint32(len(steps))
	set := func(e eventType) { eventByName[name], eventByGo[reflect.TypeOf(e.make())] = e, e }
	set(later)
	upcasters[name] = steps
	t.Cleanup(func() {
		set(now)
		delete(upcasters, name)
	})
}

// goldenOf is a decision with an event of this type, as a golden journal holds it.
func goldenOf(t *testing.T, name string) *Decision {
	t.Helper()
	f, err := os.Open("../testdata/journal/fields.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		var line struct {
			Types []string
			Body  string
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if len(line.Types) != 1 || line.Types[0] != name {
			continue
		}
		d := new(Decision)
		if body, err := base64.StdEncoding.DecodeString(line.Body); err != nil || proto.Unmarshal(body, d) != nil {
			t.Fatalf("not a decision: %q, %v", line.Body, err)
		}
		return d
	}
	t.Fatalf("no golden journal holds %s", name)
	return nil
}

const upcastEvent = "model.footprint_measured"

// inBytes is the toy step of a version that measures bytes in the field where the version before had MiB.
func inBytes(body []byte) ([]byte, error) {
	m := new(FootprintMeasured)
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, err
	}
	m.Bytes *= 1 << 20
	return proto.Marshal(m)
}

func TestGoldenEventOfVersion1IsReadAsVersion2(t *testing.T) {
	before, err := goldenOf(t, upcastEvent).Open()
	if err != nil {
		t.Fatal(err)
	}
	d := goldenOf(t, upcastEvent)
	if d.Events[0].Version != 1 {
		t.Fatalf("the golden event has version %d", d.Events[0].Version)
	}
	raised(t, upcastEvent, inBytes)
	after, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CloneOf(before[0].(*FootprintMeasured))
	want.Bytes *= 1 << 20
	if !proto.Equal(after[0], want) || want.Bytes == 0 {
		t.Errorf("version 1 holds %v and is read as %v, want %v", before[0], after[0], want)
	}
}

// Steps run in order, from the version that was written; an event of the present version takes none.
func TestUpcastRunsTheStepsFromTheWrittenVersion(t *testing.T) {
	to := func(version string) Upcaster {
		return func(body []byte) ([]byte, error) {
			m := new(ModelUnwanted)
			if err := proto.Unmarshal(body, m); err != nil {
				return nil, err
			}
			m.Reason += " to " + version
			return proto.Marshal(m)
		}
	}
	raised(t, "model.unwanted", to("2"), to("3"))
	body, err := proto.Marshal(&ModelUnwanted{Reason: "from"})
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[uint32]string{0: "from to 2 to 3", 1: "from to 2 to 3", 2: "from to 3", 3: "from"} {
		got, err := (&Decision{Events: []*Event{{Type: "model.unwanted", Version: version, Body: body}}}).Open()
		if err != nil || got[0].(*ModelUnwanted).Reason != want {
			t.Errorf("version %d is read as %v, %v; want %q", version, got, err, want)
		}
	}
	if _, err := (&Decision{Events: []*Event{{Type: "model.unwanted", Version: 4}}}).Open(); CodeOf(err) != JournalDamaged {
		t.Errorf("a version from the future: %v", err)
	}
	if d, err := Seal([]proto.Message{&ModelUnwanted{}}); err != nil || d.Events[0].Version != 3 {
		t.Errorf("sealed as %v, %v", d, err)
	}
}

// A version that only adds fields has the step same.
func TestUpcastOfAGrownEvent(t *testing.T) {
	d := goldenOf(t, upcastEvent)
	before, _ := d.Open()
	raised(t, upcastEvent, same)
	if after, err := d.Open(); err != nil || !proto.Equal(before[0], after[0]) {
		t.Errorf("%v is read as %v, %v", before, after, err)
	}
}

func TestUpcastFailureNamesTheVersions(t *testing.T) {
	raised(t, "model.ready", func([]byte) ([]byte, error) { return nil, errors.New("no field") }, same)
	_, err := (&Decision{Events: []*Event{{Type: "model.ready", Version: 1}}}).Open()
	if CodeOf(err) != JournalDamaged || !strings.Contains(err.Error(), "the event of schema version 1 can't be read as version 3: no field") {
		t.Error(err)
	}
}
