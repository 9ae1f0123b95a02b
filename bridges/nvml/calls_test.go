//go:build linux && cgo && (amd64 || arm64)

package nvml

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// A symbol that is left to the dynamic linker ends every program that starts with LD_BIND_NOW=1.
func TestNVMLFunctionsAreDefined(t *testing.T) {
	file, err := elf.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	imported, err := file.ImportedSymbols()
	if err != nil || len(imported) == 0 {
		t.Fatal(len(imported), err)
	}
	for _, symbol := range imported {
		if strings.HasPrefix(symbol.Name, "nvml") {
			t.Errorf("%s is undefined: run go generate in bridges/nvml", symbol.Name)
		}
	}
}

func TestABindingProcessStarts(t *testing.T) {
	if out := again(t, "TestOpenWhateverIsHere", "LD_BIND_NOW=1"); !strings.Contains(out, "PASS") {
		t.Error(out)
	}
}

// go-nvml from 0.13 on brings a header that marks calls as deprecated, and the compiler warns of each when go-nvml is built.
// No flag of ours reaches another module's C code, so the version is what keeps a plain `go build` quiet.
func TestTheHeaderWarnsOfNothing(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml").Output()
	if err != nil {
		t.Fatal(err)
	}
	header, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "pkg", "nvml", "nvml.h"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(header), "__attribute__((deprecated") {
		t.Error("go-nvml's header warns when it is compiled: see its line in docs/dependencies.md")
	}
}

// A function that the library lacks answers; without calls.c it ends the process.
func TestAMissingFunctionAnswers(t *testing.T) {
	lib := nvml.New(nvml.WithLibraryPath("libnone.so"))
	if got := lib.Init(); got != nvml.ERROR_LIBRARY_NOT_FOUND {
		t.Errorf("Init: %d", got)
	}
	if _, got := lib.SystemGetDriverVersion(); got != nvml.ERROR_FUNCTION_NOT_FOUND && got != nvml.ERROR_UNINITIALIZED {
		t.Errorf("SystemGetDriverVersion: %d", got) // uninitialized where a test before this one opened a real driver
	}
}
