//go:build e2e

package e2e_test

import (
	"strings"
	"testing"

	"modelops/journal"
	"modelops/messages"
)

// TestNatsCLI uses the NATS door with the nats command, as its manual says.
func TestNatsCLI(t *testing.T) {
	cli := tool(t, "nats")
	d := start(t, oneTiny)
	d.awaitPhase("tiny", "ready")
	before := d.handles()
	within := func(limit string, args ...string) output {
		return execute(t, append(d.environ(), "NATS_URL="+d.at.NATS, "NATS_USER=operator", "NATS_PASSWORD="+d.operatorKey(), "HOME="+t.TempDir()), cli, append([]string{"--timeout", limit}, args...)...)
	}
	call := func(args ...string) output { return within("10s", args...) }
	denied := func(args ...string) output { return within("1s", args...) } // the client waits for an answer to what was not let through
	req := func(subject, body string, more ...string) output {
		return call(append([]string{"req", "modelops.v1." + subject, body}, more...)...)
	}
	for _, c := range []struct {
		name  string
		got   output
		fails bool
		want  []string
	}{
		{"micro ls", call("micro", "ls"), false, []string{"modelops", "runs models on the devices of main_pc"}},
		{"micro info", call("micro", "info", "modelops"), false, []string{"modelops.v1.infer.>", "modelops.v1.models.list", "modelops.InferenceRequest"}},
		{"infer", req("infer.tiny", `{"prompt":"`+france+`","temperature":0}`), false, []string{paris, `"tokens_generated":11`, `"status":"success"`}},
		{"infer, model in the body", req("infer", `{"model_name":"tiny","prompt":"`+france+`","temperature":0}`), false, []string{paris}},
		{"OpenAI's body", req("infer.tiny", `{"messages":[{"role":"user","content":"`+france+`"}],"temperature":0}`), false, []string{paris}},
		{"unknown model", req("infer.nope", `{"prompt":"x"}`), false, []string{"Nats-Service-Error-Code: 404", "Nats-Service-Error: MODEL_NOT_FOUND", `"code":"MODEL_NOT_FOUND"`}},
		{"bad JSON", req("infer.tiny", `{"prompt":`), false, []string{"Nats-Service-Error-Code: 400", "INVALID_ARGUMENT", "not JSON"}},
		{"negative max_tokens", req("infer.tiny", `{"prompt":"x","max_tokens":-1}`), false, []string{"Nats-Service-Error-Code: 400", "max_tokens"}},
		{"deadline passed", req("infer.slow", `{"prompt":"Tell me a story."}`, "-H", "Modelops-Timeout:300ms"), false, []string{"Nats-Service-Error-Code: 504", "DEADLINE_EXCEEDED"}},
		{"models.list", req("models.list", ""), false, []string{`"name":"tiny"`}},
		{"models.load", req("models.load.lazy", ""), false, []string{`"success":true`}},
		{"models.unload", req("models.unload.lazy", ""), false, []string{`"success":true`}},
		{"state", req("state", `{"actor":"model/main_pc/tiny"}`), false, []string{`"state_json"`, `"watch/1"`}},
		{"state of an unknown model", req("state", `{"actor":"model/main_pc/nope"}`), false, []string{"Nats-Service-Error-Code: 404"}},
		{"health", req("health", ""), false, []string{`"ok":true`}},
		{"version", req("version", ""), false, []string{`"host":"main_pc"`}},
		{"journal is read", req("journal", `{"limit":1}`), false, []string{"host/main_pc", "host.started"}},
		{"journal can't be written", denied("pub", "journal.main_pc.model.x", "hello"), true, []string{"ermissions"}},
		{"the stream is out of reach", denied("stream", "info", "JOURNAL"), true, []string{"ermissions"}},
		{"there is no room for streams", denied("stream", "add", "MINE", "--subjects=x", "--defaults"), true, []string{"ermissions"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if (c.got.code != 0) != c.fails {
				t.Errorf("exit code %d", c.got.code)
			}
			for _, want := range c.want {
				if !strings.Contains(c.got.String(), want) {
					t.Errorf("no %q in\n%s", want, c.got)
				}
			}
		})
	}
	t.Run("stream", func(t *testing.T) {
		got := within("2s", "req", "modelops.v1.infer.tiny", `{"prompt":"`+france+`","temperature":0,"stream":true}`, "--replies=0")
		if n := strings.Count(got.String(), `"done":false`); n < 4 {
			t.Errorf("%d pieces", n)
		}
		for _, want := range []string{`"text":" capital"`, `"done":true`, paris, "Status: EOF"} {
			if !strings.Contains(got.String(), want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
	})
	t.Run("stream, to its end", func(t *testing.T) {
		got := req("infer.tiny", `{"prompt":"`+france+`","temperature":0}`, "-H", "Modelops-Stream:true", "--wait-for-empty")
		if n := strings.Count(got.String(), `"done":false`); n < 4 || got.code != 0 {
			t.Errorf("%d pieces, %s", n, got)
		}
	})
	t.Run("stats", func(t *testing.T) {
		if got := call("micro", "stats", "modelops"); got.code != 0 || !strings.Contains(got.out, "infer-model") {
			t.Errorf("%s", got)
		}
	})
	d.wholeJournal()
	d.idle("slow")
	d.settlesAt(before)
}

// wholeJournal reads all of the journal with its chains.
func (d *daemon) wholeJournal() {
	d.t.Helper()
	r := journalOver(d.nats())
	n := uint64(0)
	err := r.Replay(d.t.Context(), journal.Query{}, func(rec messages.Recorded) error {
		if n++; rec.Sequence != n {
			d.t.Errorf("decision %d has sequence %d", n, rec.Sequence)
		}
		return nil
	})
	if err != nil || n == 0 {
		d.t.Errorf("%d decisions, %v", n, err)
	}
}
