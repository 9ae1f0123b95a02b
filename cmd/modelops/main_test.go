package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == engineWord { // a worker: this very program
		os.Exit(wellness(os.Args[2]))
	}
	testscript.Main(leakless{m}, map[string]func(){"modelops": main})
}

// leakless runs the tests and fails when one of them left a goroutine behind.
type leakless struct{ m *testing.M }

func (l leakless) Run() int {
	code := l.m.Run()
	err := goleak.Find()
	for range 4 { // an actor system's throttle of dead letters ends with its period, which can't be cut short
		if err != nil {
			err = goleak.Find()
		}
	}
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs the program that main puts together; the command line has its own stories in cli/testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true})
}
