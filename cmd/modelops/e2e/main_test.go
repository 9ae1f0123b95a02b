//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the modelops that is tested; root is the repository. Both are set once, before any test.
var binary, root string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == fakeEngineWord { // a worker of runtime command: this very program
		os.Exit(fakeEngine(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == hubNodeWord { // a server of a hub: this very program too
		os.Exit(hubNode(os.Args[2]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if root, err = filepath.Abs("../../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if binary = os.Getenv("MODELOPS_BIN"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "modelops-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes the binary in dir with the environment's own settings and env over them.
func build(dir string, env ...string) (string, error) {
	out := filepath.Join(dir, "modelops")
	cmd := exec.Command("go", "build", "-o", out, "./cmd/modelops")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, said)
	}
	return out, nil
}
