package trainer

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"modelops/bridges/process"
)

// ReadLog reads a part of the logs of a job's attempts, one behind the other.
func (t *Trainer) ReadLog(job, after string, lines int) (process.Part, error) {
	root := string(t.folder(job))
	if job == "" || filepath.Dir(root) != filepath.Clean(t.o.Dir) {
		return process.Part{}, nil
	}
	logs, err := filepath.Glob(filepath.Join(globbed(root), "attempt-*", "*.log"))
	if err != nil {
		return process.Part{}, err
	}
	slices.SortFunc(logs, func(a, b string) int { return attemptIn(a) - attemptIn(b) })
	return process.ReadIn(logs, func(path string) string { return filepath.Base(filepath.Dir(path)) }, after, lines)
}

// globbed is a path in which no character stands for others.
func globbed(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

func attemptIn(path string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "attempt-"))
	return n
}
