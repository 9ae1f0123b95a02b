package config

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const withSecrets = `
models:
  macros: {auth: "--api-key ${SERVER_TOKEN}"}
  declare:
    a:
      cmd: "run ${auth} --port ${PORT} --hf-token literal-1 --max-tokens 100 --tokenizer t --key=${OTHER:fallback}"
      args: [--api-key, literal-2, --password=literal-1]
      env: ["HF_TOKEN=literal-3", "MODE=${MODE:quick}", "PASSED"]
    b: {path: "${MODELS}/b.gguf"}
    c: {path: "sub/${FILE}.gguf"}
    d: {url: "https://me:literal-4@example.org/${SERVER_TOKEN}/v1"}
`

// TestDeclarationsAreWrittenWithoutValues: what is journaled of a model holds neither a variable's value nor a secret of the file.
func TestDeclarationsAreWrittenWithoutValues(t *testing.T) {
	path := write(t, withSecrets)
	vars := []string{"SERVER_TOKEN=canary-token", "MODELS=/models", "FILE=c", "PASSED=canary-passed"}
	cfg, err := Load(path, vars, "")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, s := range cfg.Specs() {
		said[s.Name] = strings.Join(slices.Concat([]string{s.Path, s.Cmd, s.Url}, s.Args, s.Env), "|")
	}
	for name, want := range map[string]string{
		"a": "|run --api-key ${SERVER_TOKEN} --port ${PORT} --hf-token ${secret.1} --max-tokens 100 --tokenizer t --key=${OTHER:fallback}|http://127.0.0.1:${PORT}" +
			"|--api-key|${secret.3}|--password=${secret.1}|HF_TOKEN=${secret.2}|MODE=${MODE:quick}|PASSED",
		"b": "${MODELS}/b.gguf||",
		"c": filepath.Dir(path) + "/sub/${FILE}.gguf||",
		"d": "||https://${secret.1}@example.org/${SERVER_TOKEN}/v1",
	} {
		if said[name] != want {
			t.Errorf("%s is journaled as\n%s, want\n%s", name, said[name], want)
		}
	}
	for n, want := range []string{"", "literal-1", "literal-3", "literal-2", ""} {
		if got := cfg.Secret("a", n); got != want {
			t.Errorf("secret %d of a is %q, want %q", n, got, want)
		}
	}
	if got := cfg.Secret("d", 1); got != "me:literal-4" {
		t.Error(got)
	}
	view, err := cfg.View()
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"canary", "literal-"} {
		if strings.Contains(view.Yaml, hidden) {
			t.Errorf("the view shows %s:\n%s", hidden, view.Yaml)
		}
	}
	if !strings.Contains(view.Yaml, "${SERVER_TOKEN}") {
		t.Errorf("the view does not name the variable:\n%s", view.Yaml)
	}
	for i, other := range []string{"SERVER_TOKEN=2", "MODELS=/other", "FILE=e", "PASSED=2"} {
		changed := slices.Clone(vars)
		changed[i] = other
		next, err := Load(path, changed, "")
		if err != nil {
			t.Fatal(err)
		}
		name := []string{"a", "b", "c", "a"}[i]
		if next.ModelRevision(name) == cfg.ModelRevision(name) {
			t.Errorf("the revision of %s doesn't depend on %s", name, other)
		}
	}
}
