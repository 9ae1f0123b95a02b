package cpu

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// ram is what this process may use of the machine's memory, in bytes.
type ram struct {
	total     uint64
	available uint64 // without swapping; the page cache counts as available
	limited   bool   // by a cgroup
}

func readRAM(root fs.FS) (ram, error) {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return ram{}, err
	}
	fields := kilobytes(string(text))
	m := ram{total: fields["MemTotal"], available: fields["MemAvailable"]}
	if m.total == 0 {
		return ram{}, fmt.Errorf("/proc/meminfo has no MemTotal")
	}
	for _, g := range groups(root) {
		limit, used, ok := g.read(root)
		if !ok || limit >= m.total {
			continue
		}
		m.total, m.limited = limit, true
		m.available = min(m.available, less(limit, used))
	}
	m.available = min(m.available, m.total)
	return m, nil
}

// kilobytes reads lines "Name:   123 kB" into bytes; other lines are left out.
func kilobytes(text string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		words := strings.Fields(rest)
		if len(words) != 2 || words[1] != "kB" {
			continue
		}
		if n, err := strconv.ParseUint(words[0], 10, 54); err == nil {
			out[name] = n << 10
		}
	}
	return out
}

// group is a directory of the cgroup tree with the names its version has for things.
type group struct {
	dir                   string
	limit, current, cache string // cache: the line of memory.stat for pages that can be dropped at once
}

func version2(dir string) group {
	return group{dir, "memory.max", "memory.current", "inactive_file"}
}

func version1(dir string) group {
	return group{dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}
}

// groups are those that this process is in, with all that hold them: each may have a limit. In a container the path may be
// that of the machine and lead nowhere, so the root of the tree is always asked too.
func groups(root fs.FS) []group {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var out []group
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			out = append(out, upwards("sys/fs/cgroup", parts[2], version2)...)
		case hasWord(parts[1], "memory"):
			out = append(out, upwards("sys/fs/cgroup/memory", parts[2], version1)...)
		}
	}
	return out
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

func upwards(mount, inner string, of func(string) group) []group {
	var out []group
	for p := path.Clean("/" + inner); ; p = path.Dir(p) {
		out = append(out, of(path.Join(mount, p)))
		if p == "/" {
			return out
		}
	}
}

// read says what the group may hold and what it holds that can't be dropped; ok is false without a limit.
func (g group) read(root fs.FS) (limit, used uint64, ok bool) {
	limit, ok = number(root, path.Join(g.dir, g.limit))
	if !ok || limit == 0 {
		return 0, 0, false
	}
	used, _ = number(root, path.Join(g.dir, g.current))
	stat, _ := fs.ReadFile(root, path.Join(g.dir, "memory.stat"))
	for line := range strings.Lines(string(stat)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == g.cache {
			cache, _ := strconv.ParseUint(value, 10, 64)
			used = less(used, cache)
		}
	}
	return limit, used, true
}

// number reads a file that holds one; "max" isn't one.
func number(root fs.FS, name string) (uint64, bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
