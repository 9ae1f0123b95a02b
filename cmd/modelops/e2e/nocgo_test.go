//go:build e2e

package e2e_test

import (
	"strings"
	"testing"
)

// TestEverySymbolIsBound: the dynamic linker may look for all symbols at the start, on a machine without NVIDIA's library too.
func TestEverySymbolIsBound(t *testing.T) {
	if got := execute(t, []string{"LD_BIND_NOW=1"}, binary, "version"); got.code != 0 || !strings.HasPrefix(got.out, "modelops ") {
		t.Errorf("exit code %d: %s", got.code, got)
	}
}

// TestWithoutCompiler: a binary from a machine without a C compiler does the same, and says what it lacks.
func TestWithoutCompiler(t *testing.T) {
	plain, err := build(t.TempDir(), "CGO_ENABLED=0")
	if err != nil {
		t.Fatal(err)
	}
	d := prepare(t, base+oneTiny)
	d.binary = plain
	d.launch()
	d.awaitPhase("tiny", "ready")
	d.answers("tiny")
	if len(d.status().Gpus) != 1 {
		t.Errorf("devices %v", d.status().Gpus)
	}
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
