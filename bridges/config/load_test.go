package config

import (
	"os"
	"path/filepath"
	"reflect"
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
