package modelops

import (
	"fmt"
	"go/ast"
	"os"
	"regexp"
	"strings"
	"testing"
)

var testNames = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")

// docs/scenarios.md is believed at night: what it names must be there, and each scenario must have its row.
func TestHouseScenariosHaveTheirTests(t *testing.T) {
	r := newRule(t, "docs/scenarios.md lists every scenario with its tests: write the test's new name there, or its row")
	known := map[string]bool{}
	for _, s := range house(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test() {
				known[f.Name.Name] = true
			}
		}
	}
	raw, err := os.ReadFile("docs/scenarios.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, named := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(raw)) {
		if id, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |"); ok && strings.HasPrefix(line, "| S") {
			rows[id] = true
		}
		for _, m := range testNames.FindAllStringSubmatch(line, -1) {
			r.matched++
			named[m[1]] = true
			if !known[m[1]] {
				r.broken("%s is named there and is nowhere", m[1])
			}
		}
	}
	for n := 1; n <= 30; n++ {
		id := fmt.Sprintf("S%02d", n)
		if !rows[id] {
			r.broken("%s has no row", id)
		}
	}
	scenario := regexp.MustCompile(`^TestS\d\d[A-Z]`)
	for name := range known {
		if scenario.MatchString(name) && !named[name] {
			r.broken("%s is a scenario's test and isn't named there", name)
		}
	}
	r.atLeast(40)
}
