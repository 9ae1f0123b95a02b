package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"modelops/bridges/config"
	"modelops/journal"
	"modelops/messages"
)

// flipped changes one byte of the event that a text stands in.
func flipped(t *testing.T, dataDir, near string) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dataDir, "journal", "jetstream", "*", "streams", "JOURNAL", "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("%v %v", blocks, err)
	}
	b, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	b[strings.LastIndex(string(b), near)] ^= 1
	if err := os.WriteFile(blocks[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// runs runs a command line against dir and requires an exit code and a text.
func runs(t *testing.T, dir string, code int, want string, args ...string) {
	t.Helper()
	got, out, errs := offline(t, dir, args...)
	if got != code || !strings.Contains(out+errs, want) {
		t.Errorf("%v: exit %d, want %d and %q\n%s%s", args, got, code, want, out, errs)
	}
}

// A damaged journal is restored from a copy in a file, and from a copy of its directory.
func TestRestoreOfADamagedJournal(t *testing.T) {
	for _, how := range []string{"file", "journal directory", "data directory"} {
		t.Run(how, func(t *testing.T) {
			dir := journalOnDisk(t)
			from := filepath.Join(t.TempDir(), "copy")
			switch how {
			case "file":
				runs(t, dir, exitOK, "holds 4 decisions of host pc", "journal", "export", from)
			case "journal directory":
				if err := os.CopyFS(from, os.DirFS(filepath.Join(dir, "journal"))); err != nil {
					t.Fatal(err)
				}
			case "data directory":
				if err := os.CopyFS(from, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
			}
			flipped(t, dir, "client/b")
			t.Setenv("MOC_HOST", "pc")
			runs(t, dir, exitDamaged, "sequence 3", "journal", "verify")
			runs(t, dir, exitOK, "holds sequences 1 to 4; nothing is lost", "restore", "--from", from)
			runs(t, dir, exitOK, "intact: host pc, sequences 1 to 4", "journal", "verify")
			kept, _ := filepath.Glob(filepath.Join(dir, "journal", "damaged-*"))
			if len(kept) != 1 {
				t.Errorf("kept %v", kept)
			}
		})
	}
}

func TestRepairOfADamagedJournal(t *testing.T) {
	dir := journalOnDisk(t)
	t.Setenv("MOC_HOST", "pc")
	runs(t, dir, exitRefused, "nothing to repair", "journal", "repair")
	flipped(t, dir, "client/b")
	runs(t, dir, exitOK, "holds sequences 1 to 2; sequences 3 to 4 are lost\nthe journal that was there is kept in ", "journal", "repair")
	runs(t, dir, exitOK, "intact: host pc, sequences 1 to 2", "journal", "verify")
}

func TestRestoreRefusals(t *testing.T) {
	dir := journalOnDisk(t)
	t.Setenv("MOC_HOST", "pc")
	empty, text := t.TempDir(), filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	runs(t, dir, exitUsage, "--from", "restore")
	runs(t, dir, exitNotFound, "there is no such copy", "restore", "--from", filepath.Join(empty, "none"))
	runs(t, dir, exitNotFound, "it holds no decisions", "restore", "--from", empty)
	runs(t, dir, exitUsage, "no copy of a journal", "restore", "--from", text)
	runs(t, dir, exitUsage, "the journal itself", "restore", "--from", dir)
	t.Setenv("MOC_HOST", "other")
	runs(t, dir, exitRefused, "the copy is of host pc, this host is called other", "restore", "--from", journalOnDisk(t))
	t.Setenv("MOC_HOST", "pc")
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), Host: "pc", Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	runs(t, dir, exitRefused, "stop the daemon first", "journal", "repair")
}

// Every command that a message names exists, with the flags that the message gives it.
func TestCommandsInMessagesExist(t *testing.T) {
	named := regexp.MustCompile("`modelops ([a-z][^`\"]*)`")
	found := 0
	err := filepath.WalkDir("../../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range named.FindAllStringSubmatch(string(b), -1) {
			found++
			if problem := unknownTo(newRoot(&cli{}), strings.Fields(m[1])); problem != "" {
				t.Errorf("%s names `modelops %s`: %s", path, m[1], problem)
			}
		}
		return err
	})
	if err != nil || found < 20 {
		t.Errorf("%d commands were found, %v", found, err)
	}
	for _, line := range []string{"restore --from COPY", "journal repair", "journal verify DIR"} {
		if problem := unknownTo(newRoot(&cli{}), strings.Fields(line)); problem != "" {
			t.Errorf("%s: %s", line, problem)
		}
	}
	if unknownTo(newRoot(&cli{}), []string{"journal", "mend"}) == "" || unknownTo(newRoot(&cli{}), []string{"restore", "--to", "X"}) == "" {
		t.Error("the test finds nothing")
	}
}

// unknownTo says what of a command line doesn't exist.
func unknownTo(root *cobra.Command, words []string) string {
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(words)
	if err != nil || cmd == root {
		return "there is no such command"
	}
	for _, w := range rest {
		name, isFlag := strings.CutPrefix(w, "--")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && name != "help" && cmd.Flag(name) == nil {
			return "it has no flag " + w
		}
		if !isFlag && cmd.HasSubCommands() && w == strings.ToLower(w) {
			return "it has no command " + w
		}
	}
	return ""
}

// A member comes before a folder of its name, which may hold anything. A folder of another name is read.
func TestAMemberComesBeforeAFolderOfItsName(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("MODELOPS_SERVER", "")
	t.Chdir(t.TempDir())
	if err := os.Mkdir("pc2", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("cluster.yaml", []byte("host: pc\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, answer := range map[string]error{
		"pc2 was asked":         messages.NewError(messages.Unavailable, "host pc2", "pc2 was asked"),
		"it holds no decisions": messages.NewError(messages.NotFound, "host pc2", "it is no member"),
	} {
		var out bytes.Buffer
		p := Program{AskPeer: func(context.Context, *config.Config, string) (journal.Pages, func(), error) { return nil, nil, answer }}
		code := Run(t.Context(), p, []string{"--data-dir", dir, "restore", "pc", "--from", "pc2"}, strings.NewReader(""), &out, &out)
		if code == exitOK || !strings.Contains(out.String(), want) {
			t.Errorf("exit %d, %q, want %q", code, out.String(), want)
		}
	}
}
