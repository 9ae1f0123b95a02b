package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// write puts a configuration into an empty folder and returns its path.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load reads a configuration that must be right.
func load(t testing.TB, text, host string, env ...string) *Config {
	t.Helper()
	c, err := Load(write(t, text), env, host)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestShippedFileIsTheBuiltInConfiguration(t *testing.T) {
	t.Chdir("../..")
	built, err := Load("", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := Load("cluster.yaml", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if built.Revision() != shipped.Revision() {
		t.Errorf("revisions differ")
	}
	built.origins, shipped.origins = nil, nil
	if !reflect.DeepEqual(built, shipped) {
		t.Errorf("built-in and cluster.yaml differ:\n%+v\n%+v", built, shipped)
	}
	if _, err := os.Stat(shipped.Models.Declare["tiny"].Path); err != nil {
		t.Errorf("the shipped model is not where cluster.yaml says: %v", err)
	}
}

// TestShippedFileShowsEveryKey: cluster.yaml has every key, with its true default.
func TestShippedFileShowsEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := reader{file: "cluster.yaml"}
	root := r.parse(string(text))
	for _, path := range paths(reflect.TypeFor[Config](), "") {
		if root.walk(strings.Split(path, ".")...) == nil {
			t.Errorf("%s is not in cluster.yaml", path)
		}
	}
	for _, key := range keysOf(reflect.TypeFor[Model]()) {
		if !strings.Contains(string(text), key+":") && key != "healthCheckTimeout" {
			t.Errorf("the model's key %s is not in cluster.yaml", key)
		}
	}
	fromFile := load(t, string(text), "")
	bare := load(t, "{}", "")
	fromFile.DataDir, fromFile.Journal.Dir, fromFile.Learning.JobStore = bare.DataDir, bare.Journal.Dir, bare.Learning.JobStore
	fromFile.Models.Preload, fromFile.Models.Declare = nil, nil
	if fromFile.Revision() != bare.Revision() {
		t.Errorf("a value in cluster.yaml is not the default:\n%+v\n%+v", fromFile, bare)
	}
}

func TestPaths(t *testing.T) {
	c := load(t, "data_dir: state\njournal: {dir: j}\nlearning: {job_store: /abs/jobs.db}\nruntimes: {llama_cpp: {binary: ./bin/llama-server}}\nmodels: {declare: {m: {path: ../m.gguf}}}", "")
	folder := filepath.Dir(filepath.Dir(c.DataDir))
	here := filepath.Dir(c.DataDir)
	for got, want := range map[string]string{
		c.DataDir:                  filepath.Join(here, "state"),
		c.Journal.Dir:              filepath.Join(here, "state", "j"),
		c.Learning.JobStore:        "/abs/jobs.db",
		c.Runtimes.LlamaCpp.Binary: filepath.Join(here, "bin", "llama-server"),
		c.Models.Declare["m"].Path: filepath.Join(folder, "m.gguf"),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestNoFile(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "none.yaml"), t.TempDir()} {
		_, err := Load(path, []string{"MOC_GRPC_PORT=x"}, "")
		if err == nil || !strings.HasPrefix(err.Error(), path+": ") && !strings.Contains(err.Error(), "\n"+path+": ") || !strings.Contains(err.Error(), "MOC_GRPC_PORT: ") {
			t.Errorf("the file and the variable must both be named: %v", err)
		}
	}
}

// TestPrintHidesSecrets: a canary in every place where people put keys.
func TestPrintHidesSecrets(t *testing.T) {
	const canary = "canary-7f3a"
	c := load(t, `
title: the key to success
models:
  macros: {my_token: canary-of-macro, login: "--api-key canary-7f3a"}
  declare:
    a:
      cmd: |
        x ${PORT} --api-key canary-7f3a --hf-token=canary-7f3a \
          --password "canary-7f3a" -H "Authorization: Bearer canary-7f3a" ${login} ${my_token} ${DB_PASSWORD}
      env: [API_KEY=canary-7f3a, "X=${DB_PASSWORD}"]
      args: [--api-key, canary-7f3a, "--secret=canary-7f3a"]
    b: {url: "https://user:canary-7f3a@example.com/v1"}
`, "", "DB_PASSWORD=other-secret")
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "canary") || strings.Contains(b.String(), "other-secret") {
		t.Errorf("a secret is shown:\n%s", b.String())
	}
	if !strings.Contains(b.String(), "the key to success") {
		t.Error("ordinary words are hidden")
	}
	if !strings.Contains(c.Models.Declare["a"].Cmd, "--api-key "+canary) {
		t.Error("the command itself must keep its key")
	}
}

func TestManyProblemsAreCut(t *testing.T) {
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	_, err := Load(write(t, b.String()), nil, "")
	if lines := strings.Split(err.Error(), "\n"); len(lines) != maxShown+1 || lines[maxShown] != "and 200 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}
