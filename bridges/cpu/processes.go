package cpu

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// usage is the memory of one worker's process tree, in bytes.
type usage struct {
	root     int64  // the pid it was started with
	total    uint64 // resident, with pages of mapped files
	resident uint64 // of that, what is not "available" to others: anonymous and shared memory
	peak     uint64 // sum of each process's largest resident size
}

// kin is where a process stands among the others.
type kin struct{ pid, parent, group int64 }

// usages finds the trees of the roots, in their order, without those of which nothing is alive. A process belongs to
// the first root that claims it, as a descendant or as a member of the process group that the root leads: a grandchild
// whose parent has died is held by its group.
func usages(root fs.FS, roots []int64) ([]usage, error) {
	all, err := processes(root)
	if err != nil {
		return nil, err
	}
	taken := map[int64]bool{}
	var out []usage
	for _, r := range roots {
		u, found := usage{root: r}, false
		for _, pid := range tree(all, r) {
			if !taken[pid] && u.add(root, pid) {
				taken[pid], found = true, true
			}
		}
		if found {
			out = append(out, u)
		}
	}
	return out, nil
}

// tree are the pids that belong to root. Every pid is taken once, so that a loop in a torn reading of /proc ends.
func tree(all []kin, root int64) []int64 {
	in := map[int64]bool{}
	for _, k := range all {
		if k.pid == root || k.group == root {
			in[k.pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, k := range all {
			if !in[k.pid] && in[k.parent] {
				in[k.pid], grown = true, true
			}
		}
	}
	var out []int64
	for _, k := range all {
		if in[k.pid] {
			out = append(out, k.pid)
		}
	}
	return out
}

func processes(root fs.FS) ([]kin, error) {
	entries, err := fs.ReadDir(root, "proc")
	if err != nil {
		return nil, err
	}
	var out []kin
	for _, e := range entries {
		if _, err := strconv.ParseInt(e.Name(), 10, 64); err != nil {
			continue
		}
		text, err := fs.ReadFile(root, path.Join("proc", e.Name(), "stat"))
		if err != nil {
			continue // it ended meanwhile
		}
		if k, err := parseStat(string(text)); err == nil {
			out = append(out, k)
		}
	}
	return out, nil
}

var errStat = errors.New("not a line of /proc/PID/stat")

// parseStat reads "pid (name) state ppid pgrp ...". The name may hold anything, also spaces and parentheses.
func parseStat(text string) (kin, error) {
	before, _, ok := strings.Cut(text, " (")
	end := strings.LastIndex(text, ") ")
	if !ok || end < len(before) {
		return kin{}, errStat
	}
	words := strings.Fields(text[end+2:])
	if len(words) < 3 {
		return kin{}, errStat
	}
	var k kin
	var err error
	for _, f := range []struct {
		to   *int64
		from string
	}{{&k.pid, before}, {&k.parent, words[1]}, {&k.group, words[2]}} {
		if *f.to, err = strconv.ParseInt(f.from, 10, 64); err != nil {
			return kin{}, errStat
		}
	}
	return k, nil
}

// add counts one process; false when it has ended or is a zombie, which holds nothing.
func (u *usage) add(root fs.FS, pid int64) bool {
	status, err := fs.ReadFile(root, fmt.Sprintf("proc/%d/status", pid))
	if err != nil {
		return false
	}
	rss := kilobytes(string(status))
	if _, alive := rss["VmRSS"]; !alive {
		return false
	}
	u.peak += rss["VmHWM"]
	// Shared pages are split among their users by the kernel's Pss; without permission for it they count in full.
	if rollup, err := fs.ReadFile(root, fmt.Sprintf("proc/%d/smaps_rollup", pid)); err == nil {
		pss := kilobytes(string(rollup))
		if _, split := pss["Pss_Anon"]; split {
			u.total += pss["Pss"]
			u.resident += pss["Pss_Anon"] + pss["Pss_Shmem"]
			return true
		}
	}
	u.total += rss["VmRSS"]
	u.resident += rss["RssAnon"] + rss["RssShmem"]
	return true
}
