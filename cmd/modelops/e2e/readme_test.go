//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// example is one command that README.md prints, and what it prints as its output.
type example struct {
	line    int
	command string
	output  []string
	shown   bool // only: the block follows notRun
}

// notRun is the comment before a block that only shows something: it needs models or keys that the tour doesn't have.
const notRun = "<!-- not run -->"

// TestReadmeTour runs the commands of README.md as they are printed, in the repository's layout, at the ports that are printed, and looks
// in their outputs for the words that README.md shows. A network namespace of its own keeps the printed ports free.
func TestReadmeTour(t *testing.T) {
	for _, name := range []string{"unshare", "ip", "nsenter", "curl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	readme := text(t, "README.md")
	examples := readExamples(readme)
	d := prepare(t, "", "PATH="+strings.Join([]string{filepath.Dir(tool(t, "grpcurl")), filepath.Dir(tool(t, "nats")), os.Getenv("PATH")}, ":"),
		"HOME="+t.TempDir(), "NO_PROXY=localhost,127.0.0.1")
	layOut(t, d.dir)
	shell := namespace(t)
	serve := regexp.MustCompile(`(?m)^run: build.*\n\t(.*)$`).FindStringSubmatch(text(t, "Makefile"))[1]
	daemon := exec.Command(shell[0], append(shell[1:], "exec "+serve)...)
	daemon.Dir, daemon.Env, daemon.Stdout, daemon.Stderr = d.dir, d.environ(), d.log, d.log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	for _, said := range []string{", host main_pc, configuration cluster.yaml\n", "HTTP     http://127.0.0.1:8008\ngRPC     127.0.0.1:7212\nNATS     nats://127.0.0.1:4222\n",
		"\ntiny is ready: ", "> What is the capital of France?\nThe capital of France is Paris.\n(tiny, "} {
		d.until(startLimit, said, func() bool { return strings.Contains(d.log.String(), said) })
		if !strings.Contains(readme, said) {
			t.Errorf("README.md doesn't show %q", said)
		}
	}

	ran, shown, exports := 0, 0, ""
	for _, x := range examples {
		if x.shown {
			shown++
			continue
		}
		if strings.HasPrefix(x.command, "export ") || strings.HasPrefix(x.command, "KEY=") { // one terminal holds them all
			exports += x.command + "\n"
		}
		ran++
		t.Run(fmt.Sprintf("line %d", x.line), func(t *testing.T) {
			got := execute(t, d.environ(), "env", append(append([]string{"-C", d.dir}, shell...), exports+x.command)...)
			if got.code != 0 || strings.Contains(got.String(), "Nats-Service-Error") { // an error reply is no error to the nats command
				t.Fatalf("%s\nexit code %d: %s", x.command, got.code, got)
			}
			for _, promised := range promises(x.output) {
				if !strings.Contains(squeeze(got.out), squeeze(promised)) {
					t.Errorf("%s\nREADME.md promises %q; it prints\n%s", x.command, promised, got)
				}
			}
		})
	}
	if ran != 16 || shown != 7 {
		t.Errorf("%d commands ran and %d are only shown: a command that comes or goes changes these numbers", ran, shown)
	}
}

func text(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// layOut makes dir look like the repository after make build.
func layOut(t *testing.T, dir string) {
	t.Helper()
	for from, to := range map[string]string{binary: "bin/modelops", tiny(): "testdata/model/tiny.gguf", filepath.Join(root, "cluster.yaml"): "cluster.yaml"} {
		raw, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to = filepath.Join(dir, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, raw, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// namespace makes a network of its own, with nothing but loopback, and returns the words before a command line that bash runs in it.
func namespace(t *testing.T) []string {
	t.Helper()
	holder := exec.Command("unshare", "-rn", "bash", "-c", "ip link set lo up && echo up && exec sleep infinity")
	said := &buffer{}
	holder.Stdout, holder.Stderr = said, said
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- holder.Wait() }()
	t.Cleanup(func() { _ = holder.Process.Kill() })
	until(t, startLimit, "the network is up", func() bool {
		select {
		case err := <-done:
			t.Skipf("this machine lets no network be made: %v: %s", err, said)
		default:
		}
		return strings.Contains(said.String(), "up")
	})
	return []string{"nsenter", "--preserve-credentials", "-U", "-n", "-t", fmt.Sprint(holder.Process.Pid), "bash", "-c"}
}

// readExamples takes the commands (behind "$ ") and their outputs from README.md's code blocks.
func readExamples(readme string) []example {
	var all []example
	inside, skip, before := false, false, ""
	for i, line := range strings.Split(readme, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside
			skip = before == notRun
		case inside && strings.HasPrefix(line, "$ "):
			all = append(all, example{line: i + 1, command: line[2:], shown: skip})
		case inside && len(all) > 0 && line != "":
			all[len(all)-1].output = append(all[len(all)-1].output, line)
		}
		if line != "" {
			before = line
		}
	}
	return all
}

// changing is what differs from run to run: numbers, identities, and what an ellipsis leaves out.
var changing = regexp.MustCompile(`\.\.\.|[^\s"{}:,()/]*\d[^\s"{},()/]*`)

// promises are the parts of an output that are the same in each run.
func promises(output []string) []string {
	var out []string
	for _, line := range output {
		for _, part := range changing.Split(line, -1) {
			if part = strings.Trim(part, " ,"); strings.IndexFunc(part, isLetter) >= 0 {
				out = append(out, part)
			}
		}
	}
	return out
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// squeeze drops white space, which tables and JSON printers choose freely.
func squeeze(s string) string { return strings.Join(strings.Fields(s), "") }
