package modelops

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// proofs are the files of testdata/contributing: what a section of the page adds beside its edits, and the tests that prove them.
var proofs = map[string]string{"Add a kind": "kind", "Add an operation": "operation", "Add a runtime": "runtime", "Add a version of an event": "version"}

// roomOf is what a section adds beside its edits.
func roomOf(t *testing.T, section string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if section == "" {
		return out
	}
	a, err := txtar.ParseFile(filepath.Join("testdata/contributing", proofs[section]+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		out[f.Name] = string(f.Data)
	}
	return out
}

// copied is a copy of the tree in which a newcomer works.
type copied struct{ dir string }

// TestNewcomer makes the edits of docs/contributing.md in a copy of the tree, runs the commands that come after them, builds the copy and tests
// it: so the lists are complete, and the house needs no further edit. It is no House test, since it builds: 25 s of processor time, 75 s after a
// change of messages. The generators come from the module cache and the build cache, as make generate leaves them; where they were never built,
// which takes minutes, the test is skipped.
func TestNewcomer(t *testing.T) {
	if testing.Short() || os.Getenv("CI") != "true" && !generatorsAreBuilt() {
		t.Skip("make generate builds the generators that this test uses")
	}
	c := copyTree(t)
	c.add(t, "Add a kind", "Add an operation", "Add a runtime")
	c.tests(t, "the house rules hold", "^TestHouse", "-skip", "FitsTheTree", ".") // the edits are made already
	c.tests(t, "the kind, the operation and the runtime work", "^(TestStories|TestEveryKind.*|TestBell|TestUptime|TestSendLists.*|TestTabby|TestBadFiles)$",
		"./actors/bell", "./actors/kinds", "./bridges/config", "./bridges/runtime", "./cmd/modelops", "./cmd/modelops/cli")
	c.add(t, "Add a version of an event")
	c.tests(t, "both versions of the event are read", "^(TestStories|TestVersions|TestEvery.*)$", "./actors/bell", "./actors/kinds", "./messages")
}

// generatorsAreBuilt tells whether the largest generator lies in the build cache.
func generatorsAreBuilt() bool {
	cmd := exec.Command("go", "list", "-modfile=.ci/tools/go.mod", "-f", "{{.Stale}}", "github.com/bufbuild/buf/private/buf/bufctl")
	cmd.Env = append(os.Environ(), "GOPROXY=off")
	out, err := cmd.Output()
	return err == nil && strings.TrimSpace(string(out)) == "false"
}

// copyTree copies what the build and the house rules read.
func copyTree(t *testing.T) copied {
	t.Helper()
	c := copied{t.TempDir()}
	err := fs.WalkDir(os.DirFS("."), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (ignored(d.Name()) || strings.HasPrefix(d.Name(), ".") && p != ".ci"):
			return fs.SkipDir
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			return c.write(p, string(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c copied) write(path, text string) error {
	path = filepath.Join(c.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// add makes the edits of sections, puts beside them what the sections add, and runs the commands that come after, each once.
func (c copied) add(t *testing.T, sections ...string) {
	t.Helper()
	var commands []string
	for _, section := range sections {
		c.edit(t, section)
		for _, command := range commandsOf(t, section) {
			if !slices.Contains(commands, command) {
				commands = append(commands, command)
			}
		}
	}
	for _, command := range commands {
		if command == "make generate" {
			c.generate(t)
			continue
		}
		words := strings.Fields(command)
		c.run(t, []string{trimmed()}, words[0], words[1:]...)
	}
}

func (c copied) edit(t *testing.T, section string) {
	t.Helper()
	beside := roomOf(t, section)
	for _, path := range slices.Sorted(maps.Keys(beside)) {
		if err := c.write(path, beside[path]); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range listOf(t, section) {
		before, err := os.ReadFile(filepath.Join(c.dir, e.path))
		if err != nil && e.lang == "diff" {
			t.Fatal(err)
		}
		after, wrong := e.apply(string(before))
		if wrong != "" {
			t.Fatalf("%q: %s: %s", section, e.path, wrong)
		}
		if err := c.write(e.path, after); err != nil {
			t.Fatal(err)
		}
	}
}

// generate is make generate without the documents that no edit changes. The generators of the messages are built as make generate builds them,
// so that they are found in the build cache.
func (c copied) generate(t *testing.T) {
	t.Helper()
	c.run(t, nil, "go", "generate", "./messages")
	c.goes(t, "generate", "./bridges/config")
}

func (c copied) tests(t *testing.T, what, run string, args ...string) {
	t.Helper()
	ok := t.Run(what, func(t *testing.T) {
		if said := c.goes(t, append([]string{"test", "-count", "1", "-run", run}, args...)...); strings.Contains(said, "no test") {
			t.Errorf("a package ran nothing:\n%s", said)
		}
	})
	if !ok {
		t.FailNow()
	}
}

func (c copied) goes(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, []string{trimmed()}, "go", args...)
}

// trimmed has packages built alike in each folder, so that those that don't depend on an edit come from the build cache.
func trimmed() string { return "GOFLAGS=" + strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath") }

// run runs a program in the copy, without the network, and gives what it prints.
func (c copied) run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = c.dir
	cmd.Env = append(append(os.Environ(), "GOPROXY=off", "PWD="+c.dir), env...)
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, said)
	}
	return string(said)
}
