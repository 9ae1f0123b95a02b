package modelops

import (
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestHouseFilesAndFunctionsStaySmall(t *testing.T) {
	r := newRule(t, "Rule: a file has at most 400 lines, a function 80. Reason: what is longer holds two thoughts. Instead: give the second thought a file or a function with its name.")
	for _, s := range house(t) {
		if s.generated() {
			continue
		}
		if n := strings.Count(s.text, "\n"); n > 400 {
			r.broken("%s has %d lines", s.path, n)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok {
				r.matched++
				if lines := s.set.Position(f.End()).Line - s.line(f) + 1; lines > 80 {
					r.broken("%s:%d %s has %d lines", s.path, s.line(f), f.Name.Name, lines)
				}
			}
			return true
		})
	}
	r.atLeast(500)
}

// poor words hide a better one.
var poor = regexp.MustCompile(`(?i)^(manager|helper|helpers|util|utils|common|base)$`)

var words = regexp.MustCompile(`[A-Z]?[a-z0-9]+|[A-Z]+`)

func TestHouseNames(t *testing.T) {
	r := newRule(t, "Rule: no package or type is called manager, helper, util, common or base. Reason: such a name fits everything and says nothing. "+
		"Instead: name what it knows or does; one noun per thing.")
	for _, s := range house(t) {
		names := []string{s.file.Name.Name, path.Base(s.dir)}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if ts, ok := n.(*ast.TypeSpec); ok {
				names = append(names, ts.Name.Name)
			}
			return true
		})
		r.matched += len(names)
		for _, name := range names {
			if slices.ContainsFunc(words.FindAllString(name, -1), poor.MatchString) && !s.generated() {
				r.broken("%s: %s", s.path, name)
			}
		}
	}
	r.atLeast(300)
}

func TestHouseRunsOnOneSystem(t *testing.T) {
	r := newRule(t, "Rule: no file for another operating system than Linux. Reason: it is neither run nor tested, so it breaks unnoticed. Instead: build tags for cgo and the processor only.")
	other := regexp.MustCompile(`_(windows|darwin|freebsd|netbsd|openbsd|solaris|plan9|js|wasip1|android|ios|aix|illumos|dragonfly)(_\w+)?(_test)?\.go$`)
	for _, s := range house(t) {
		r.matched++
		if other.MatchString(s.path) {
			r.broken("%s", s.path)
		}
	}
	r.atLeast(100)
}

func TestHouseExportedNamesAreDocumented(t *testing.T) {
	r := newRule(t, "Rule: what is exported says in a comment what it means, in which unit, and how it fails. Reason: callers shouldn't have to read the body. "+
		"Instead: one sentence that begins with the name, or unexport it.")
	documented := map[string]bool{} // dirs with a package comment
	dirs := map[string]bool{}
	for _, s := range house(t) {
		if s.test() || s.generated() {
			continue
		}
		dirs[s.dir] = true
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil
		for _, d := range s.file.Decls {
			r.matched += documentedDecl(r, s, d)
		}
	}
	for dir := range dirs {
		if !documented[dir] {
			r.broken("package %s has no package comment", dir)
		}
	}
	r.atLeast(200)
}

// wellKnown methods mean what their interface means.
var wellKnown = []string{"String", "Error", "Unwrap", "Is", "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText", "MarshalYAML", "UnmarshalYAML", "Len", "Less", "Swap"}

func documentedDecl(r *rule, s source, d ast.Decl) (seen int) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if !d.Name.IsExported() || d.Recv != nil && (!exportedReceiver(d.Recv) || slices.Contains(wellKnown, d.Name.Name)) {
			return 0
		}
		if d.Doc == nil {
			r.broken("%s:%d func %s has no comment", s.path, s.line(d), d.Name.Name)
		}
		return 1
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			name, doc := exportedSpec(spec)
			if name == "" {
				continue
			}
			seen++
			if d.Doc == nil && !doc {
				r.broken("%s:%d %s has no comment", s.path, s.line(spec), name)
			}
		}
	}
	return seen
}

func exportedReceiver(recv *ast.FieldList) bool {
	t := recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// exportedSpec names what is exported. A constant of a type of ours is explained by its type.
func exportedSpec(spec ast.Spec) (name string, documented bool) {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() {
			return s.Name.Name, s.Doc != nil || s.Comment != nil
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() {
				return n.Name, s.Doc != nil || s.Comment != nil || s.Type != nil
			}
		}
	}
	return "", false
}

func TestHouseNothingIsLeftForLater(t *testing.T) {
	r := newRule(t, "Rule: no notes to a later self in code. Reason: they aren't read, and the gap stays. Instead: do it, or file an issue.")
	later := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b|not implemented`)
	for _, s := range house(t) {
		if s.generated() || strings.HasPrefix(s.path, "house") {
			continue
		}
		r.matched++
		for i, line := range strings.Split(s.text, "\n") {
			if m := later.FindString(line); m != "" && !strings.Contains(line, "context."+m) {
				r.broken("%s:%d %s", s.path, i+1, m)
			}
		}
	}
	r.atLeast(100)
}

func TestHouseTestsDontSleep(t *testing.T) {
	r := newRule(t, "Rule: no test sleeps in real time. Reason: it is slow on a good day and wrong on a bad one. Instead: testing/synctest, where sleeping costs nothing, or wait for the thing itself.")
	for _, s := range house(t) {
		if !s.test() {
			continue
		}
		r.matched++
		virtual := slices.Contains(s.imports(), "testing/synctest")
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && !virtual && called(sel, "time", "Sleep") {
				r.broken("%s:%d sleeps", s.path, s.line(n))
			}
			return true
		})
	}
	r.atLeast(30)
}

func TestHouseLogsAndPrintsAtTheDoor(t *testing.T) {
	r := newRule(t, "Rule: loggers are passed in, and only cmd prints. Reason: a library that writes to a global can't be tested or silenced. Instead: take a *slog.Logger, or return the error.")
	for _, s := range house(t) {
		if s.test() || strings.HasPrefix(s.path, "cmd/") || strings.HasSuffix(s.dir, "gen") {
			continue
		}
		r.matched++
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if ok && (called(sel, "slog", "Info", "Warn", "Error", "Debug", "Log", "Default", "SetDefault") ||
				called(sel, "fmt", "Print", "Printf", "Println") || called(sel, "log", "Print", "Printf", "Println", "Fatal", "Fatalf", "Panic")) {
				r.broken("%s:%d %s.%s", s.path, s.line(n), sel.X, sel.Sel.Name)
			}
			return true
		})
	}
	r.atLeast(80)
}

func TestHouseGoroutinesAreCounted(t *testing.T) {
	r := newRule(t, "Rule: a room that starts goroutines proves with goleak that they end. Reason: leaks show after days, as memory. Instead: goleak.VerifyTestMain in a TestMain of the package.")
	starts, counts := map[string]bool{}, map[string]bool{}
	for _, s := range house(t) {
		counts[s.dir] = counts[s.dir] || s.test() && slices.Contains(s.imports(), "go.uber.org/goleak")
		if s.test() || s.generated() || strings.HasPrefix(s.dir, "cmd/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			_, ok := n.(*ast.GoStmt)
			starts[s.dir] = starts[s.dir] || ok
			return true
		})
	}
	for dir := range starts {
		if !starts[dir] {
			continue
		}
		r.matched++
		if !counts[dir] {
			r.broken("%s starts goroutines and no test of it uses goleak", dir)
		}
	}
	r.atLeast(5)
}

func TestHouseHasADependencyPage(t *testing.T) {
	r := newRule(t, "Rule: each foreign module has a line in docs/dependencies.md. Reason: what for, what else was looked at, how hard to leave. Instead: write the line.")
	page, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for guest := range guests {
		if guest == "github.com/nats-io/nats.go/jetstream" {
			continue // a part of a module that is there
		}
		r.matched++
		if last := path.Base(guest); !strings.Contains(string(page), last) {
			r.broken("%s is not in docs/dependencies.md", guest)
		}
	}
	r.atLeast(10)
}

func called(sel *ast.SelectorExpr, pkg string, names ...string) bool {
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg && slices.Contains(names, sel.Sel.Name)
}
