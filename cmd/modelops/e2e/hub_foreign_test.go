//go:build e2e

package e2e_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

// TestAForeignStreamAtTheHub: somebody's own stream at the hub has the subjects, the name, or both, that the archive wants. It is said which one it is and what to do, the host
// serves on, the stream stays as it was, also for a restore, and the archive begins by itself once the other one gives way.
func TestAForeignStreamAtTheHub(t *testing.T) {
	t.Parallel() // it waits more than it works
	h := startHub(t)
	d := prepare(t, base+h.section("main_pc", ", hub_domain: hub")+"journal: {archive: hub}\nmodels: {declare: {tiny: {runtime: embedded, path: TINY}}}\n")
	d.write("hub.password", hubPassword)
	nc, js, err := h.client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for _, c := range []struct{ name, subject string }{
		{"AUDIT", "modelops.v1.archive.>"},
		{"JOURNAL_main_pc_audit", "modelops.v1.archive.main_pc.*"},
	} {
		config := jetstream.StreamConfig{Name: c.name, Subjects: []string{c.subject}, Replicas: 1}
		foreign := foreignStream(t, js, config)
		foreign.publish("modelops.v1.archive.main_pc.theirs", 1)
		d.launch()
		d.answers("tiny")
		d.saysEverywhere(c.name+" ("+c.subject+")", "give that stream other subjects")
		d.typed("unload", "tiny")
		d.answers("tiny")
		foreign.isAsItWas()
		config.Subjects = []string{"theirs." + c.name}
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		own := d.archived().Stream
		if code := d.stop(); code != 0 || own == c.name {
			t.Errorf("exit code %d, the archive is %s", code, own)
		}
		if err := js.DeleteStream(t.Context(), own); err != nil {
			t.Fatal(err)
		}
	}
	// One that looks like an archive which has just begun. It isn't in the way.
	name, subject := "JOURNAL_main_pc_AUDIT", "modelops.v1.archive.main_pc.AUDIT"
	foreign := foreignStream(t, js, jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Replicas: 1})
	d.launch()
	d.answers("tiny")
	own := d.archived()
	if own.Stream == name {
		t.Errorf("the archive is %s", name)
	}
	foreign.isAsItWas()
	if code := d.stop(); code != 0 {
		t.Error(code)
	}
	foreign.publish(subject, int(own.Archived)+100) // the longer one
	if err := os.RemoveAll(d.journalDir()); err != nil {
		t.Fatal(err)
	}
	if out := d.typed("restore", "main_pc", "--from", "hub"); !strings.Contains(out, "nothing is lost") {
		t.Error(out)
	}
	foreign.isAsItWas()
}

// saysEverywhere waits until `modelops cluster`, /health and the log say all of the words about an archive that stands still.
func (d *daemon) saysEverywhere(words ...string) {
	d.t.Helper()
	d.unless(func() string {
		if a := members(d).Hub.GetArchive(); a.GetArchived() > 0 {
			return "the archive goes on, in stream " + a.Stream
		}
		return ""
	}, "the hub is reached, and the archive stands still", func() bool {
		hub := members(d).Hub
		return hub.Reached && hub.GetArchive().GetNote() != ""
	})
	for _, w := range words {
		d.until(soonLimit, "it is said everywhere: "+w, func() bool {
			health := strings.ReplaceAll(string(d.get("/health").body), `\u003e`, ">")
			return strings.Contains(d.typed("cluster"), w) && strings.Contains(health, w) && strings.Contains(d.log.String(), w)
		})
	}
}

// archived waits until the whole journal is at the hub.
func (d *daemon) archived() (at *messages.ArchiveView) {
	d.t.Helper()
	d.until(startLimit, "the archive has caught up", func() bool {
		at = members(d).Hub.GetArchive()
		return at.GetNote() == "" && at.GetArchived() > 0 && at.GetArchived() == at.GetSequence()
	})
	return at
}

// foreign is a stream of somebody else.
type foreign struct {
	t    *testing.T
	js   jetstream.JetStream
	name string
	was  *jetstream.StreamInfo
}

func foreignStream(t *testing.T, js jetstream.JetStream, config jetstream.StreamConfig) *foreign {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	f := &foreign{t: t, js: js, name: config.Name}
	f.was = f.now()
	return f
}

func (f *foreign) now() *jetstream.StreamInfo {
	f.t.Helper()
	s, err := f.js.Stream(f.t.Context(), f.name)
	if err != nil {
		f.t.Fatal(err)
	}
	return s.CachedInfo()
}

// publish stores messages of the stream's owner.
func (f *foreign) publish(subject string, n int) {
	f.t.Helper()
	for range n {
		if _, err := f.js.Publish(f.t.Context(), subject, []byte("theirs")); err != nil {
			f.t.Fatal(err)
		}
	}
	f.was = f.now()
}

// isAsItWas demands that only its owner has written to the stream, and nobody has changed it.
func (f *foreign) isAsItWas() {
	f.t.Helper()
	is := f.now()
	if is.State.LastSeq != f.was.State.LastSeq || is.State.Msgs != f.was.State.Msgs || !reflect.DeepEqual(is.Config, f.was.Config) {
		f.t.Errorf("%s was %+v %+v, and is %+v %+v", f.name, f.was.Config, f.was.State, is.Config, is.State)
	}
}
