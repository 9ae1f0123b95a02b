// Report reads what `go test -json` wrote into the files it is given. It prints the output of each test that failed, the reason of
// each one that was skipped, and last the line "N passed, N failed, N skipped". It fails when a test failed, and with CI=true when
// one was skipped: what a test needs is made before it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type event struct{ Action, Package, ImportPath, Test, Output, FailedBuild string }

type report struct {
	output                  map[string]*strings.Builder // by package and test
	passed, failed, skipped int
}

func main() {
	r := &report{output: map[string]*strings.Builder{}}
	for _, path := range os.Args[1:] {
		if err := r.read(path); err != nil {
			fmt.Println(err)
			r.failed++
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	if r.failed > 0 || r.skipped > 0 && os.Getenv("CI") == "true" {
		os.Exit(1)
	}
}

func (r *report) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<26)
	seen := map[string]int{} // failures by package
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			fmt.Println(lines.Text()) // of make or of the compiler
			continue
		}
		r.take(e, seen)
	}
	return lines.Err()
}

// take counts tests and subtests. A package that fails although none of its tests did counts as one: it didn't compile, ran out of
// time, or leaked.
func (r *report) take(e event, seen map[string]int) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "output":
		if r.output[key] == nil {
			r.output[key] = &strings.Builder{}
		}
		r.output[key].WriteString(e.Output)
	case "pass":
		if e.Test != "" {
			r.passed++
		}
		delete(r.output, key)
	case "skip":
		if e.Test != "" { // otherwise a package without tests
			r.skipped++
			fmt.Printf("SKIPPED %s\n%s", key, r.output[key])
		}
	case "fail":
		if e.Test != "" || seen[e.Package] == 0 {
			r.failed++
			seen[e.Package]++
			fmt.Printf("FAILED %s\n%s", key, r.output[key])
		}
	}
}
