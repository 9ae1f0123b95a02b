package entitytest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

// Stage is what a script is played on: a Bench, or anything else that takes steps and can be shown.
type Stage interface {
	Given(name, body string) error
	When(name, body string) (came []string, err error)
	Wait(time.Duration)
	Show() []string
}

// Seer is a stage whose commands are decided with readings of the world.
type Seer interface {
	Seeing(name, body string) error
}

// Play runs every script of a folder, each on a fresh stage.
func Play(t *testing.T, dir string, fresh func() Stage) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Transcript(string(b), fresh())
			if err != nil {
				t.Fatalf("%s:%v", path, err)
			}
			if got == string(b) {
				return
			}
			if !*update {
				t.Fatalf("%s: %s\n(when the new way is right: go test -update, and say in the commit why)", path, firstDifference(string(b), got))
			}
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Transcript plays a script and writes it again with the actual results.
func Transcript(script string, stage Stage) (string, error) {
	p := player{stage: stage}
	for i, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		if err := p.read(line); err != nil {
			return "", fmt.Errorf("%d: %w", i+1, err)
		}
	}
	p.close()
	if p.played == 0 {
		return "", fmt.Errorf("1: the script has no when")
	}
	return p.out.String(), nil
}

type player struct {
	stage  Stage
	out    strings.Builder
	last   [2]string // the last command's name and body
	came   []string  // its results that aren't written yet; nil = nothing to write
	played int
	golden bool // inside a then
}

func (p *player) read(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case p.golden && strings.HasPrefix(line, "  "):
		return nil // the results when the script was written; close wrote those of now
	case line == "" || strings.HasPrefix(line, "#"):
		p.close()
	case word == "then" && rest == "":
		if p.came == nil {
			return fmt.Errorf("then without a when before it")
		}
		p.close()
		p.golden = true
		return nil
	default:
		p.close()
		if err := p.step(word, rest); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	p.golden = false
	fmt.Fprintln(&p.out, line)
	return nil
}

func (p *player) step(word, rest string) error {
	name, body, _ := strings.Cut(rest, " ")
	switch word {
	case "given":
		return p.stage.Given(name, body)
	case "seeing":
		if seer, ok := p.stage.(Seer); ok {
			return seer.Seeing(name, body)
		}
		return fmt.Errorf("nothing is observed here")
	case "wait":
		d, err := time.ParseDuration(rest)
		p.stage.Wait(d)
		return err
	case "again":
		if p.last[0] == "" || rest != "" {
			return fmt.Errorf("again repeats the command before it, and takes nothing")
		}
		name, body = p.last[0], p.last[1]
	case "when":
		p.last = [2]string{name, body}
	default:
		return fmt.Errorf("%q is no word of a script: given, seeing, wait, when, again, then", word)
	}
	p.stage.Wait(time.Second)
	came, err := p.stage.When(name, body)
	p.came = append([]string{}, came...)
	p.played++
	return err
}

// close writes the results of the last command.
func (p *player) close() {
	if p.came == nil {
		return
	}
	fmt.Fprintln(&p.out, "then")
	for _, l := range append(p.came, p.stage.Show()...) {
		fmt.Fprintln(&p.out, "  "+strings.TrimRight(l, " "))
	}
	p.came = nil
}

func firstDifference(was, is string) string {
	a, b := strings.Split(was, "\n"), strings.Split(is, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d\n  script: %s\n  came:   %s", i+1, x, y)
		}
	}
	return "no difference"
}
