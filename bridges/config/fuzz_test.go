package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad: whatever the file and the variables hold, Load answers with a configuration or with problems that name a
// place, and never panics.
func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob(golden + "/*/*.yaml")
	if len(files) == 0 {
		f.Fatal("no seeds")
	}
	for _, file := range append(files, "../../cluster.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "MOC_SERVER__GRPC_PORT=1", "")
	}
	f.Add("hosts: {a: {goals: {policy: round_robin}}}", "MOC_MODELS__PRELOAD=[{name: a, path: b}]", "a")
	f.Add("? [a]\n: b\n? {c: d}\n", "MOC_MODELS={declare: {x: {cmd: '${y}'}}}", "x y")
	f.Add("a: |\n  ${X}\nb: >-\n x\n y\n", "MOC___=", "")
	f.Add("%YAML 1.2\n---\n!!map {? !!str a : !!int 1}\n...\n", "X", "é")
	f.Add("a: &a\n  b: *a\n<<: [*a, *a]\n", "=", "")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text, variable, host string) {
		path := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Skip(err)
		}
		c, err := Load(path, []string{variable}, host)
		if err == nil {
			if c.Revision() == "" || len(c.Explain()) < 40 {
				t.Error("an accepted configuration must be whole")
			}
			return
		}
		var ps Problems
		if !errors.As(err, &ps) || len(ps) == 0 || c != nil {
			t.Fatalf("the error is no list of problems: %v", err)
		}
		for _, p := range ps {
			if p.Where == "" || p.Where == "default" || p.What == "" || strings.HasPrefix(p.String(), ":") {
				t.Errorf("a problem without place: %q", p.String())
			}
		}
	})
}
