package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

const golden = "../../testdata/config"

// TestBadFiles: every mistake of a file is reported at once, with its place.
func TestBadFiles(t *testing.T) {
	each(t, "bad", func(c *Config, err error) string {
		if err == nil {
			t.Error("the file was accepted")
			return ""
		}
		return err.Error() + "\n"
	})
}

// TestGoodFiles: what is not a default is shown with its source.
func TestGoodFiles(t *testing.T) {
	each(t, "good", func(c *Config, err error) string {
		if err != nil {
			t.Error(err)
			return ""
		}
		var b strings.Builder
		for _, s := range c.Explain() {
			if s.Source != "default" || strings.HasPrefix(s.Path, "models.declare.") {
				fmt.Fprintf(&b, "%s = %s # %s\n", s.Path, s.Value, s.Source)
			}
		}
		for _, n := range c.Notices() {
			fmt.Fprintf(&b, "notice: %s\n", n)
		}
		return b.String()
	})
}

// each loads the files of a folder. Their first lines may hold "# env: A=1 B=2" and "# host: name"; in a value ",_" and
// ":_" stand for ", " and ": ".
func each(t *testing.T, folder string, show func(*Config, error) string) {
	t.Chdir(filepath.Join(golden, folder))
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	here, _ := os.Getwd()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var env []string
		host := ""
		for line := range strings.Lines(string(text)) {
			if vars, ok := strings.CutPrefix(line, "# env: "); ok {
				for _, kv := range strings.Fields(vars) {
					env = append(env, strings.NewReplacer(",_", ", ", ":_", ": ").Replace(kv))
				}
			}
			if name, ok := strings.CutPrefix(line, "# host: "); ok {
				host = strings.TrimSpace(name)
			}
		}
		got := strings.ReplaceAll(show(Load(file, env, host)), here, "/here")
		compare(t, strings.TrimSuffix(file, ".yaml")+".want", got)
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n--- got\n%s--- want\n%s", file, got, want)
	}
}

func TestSchemaFileIsCurrent(t *testing.T) {
	want, err := os.ReadFile("../../docs/cluster.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(Schema()) {
		t.Error("docs/cluster.schema.json is old: run go generate ./bridges/config")
	}
}
