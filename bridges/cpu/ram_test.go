package cpu

import (
	"testing"
	"testing/fstest"
)

// The machine has 1000 MiB, 900 of them available.
func TestCgroupLimits(t *testing.T) {
	const v1 = "12:pids:/a\n5:cpu,memory:/docker/x\n"
	for name, tc := range map[string]struct {
		files            map[string]string
		total, available int
		limited          bool
	}{
		"none":              {nil, 1000, 900, false},
		"version 2":         {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "419430400", "sys/fs/cgroup/a/b/memory.current": "104857600"}, 400, 300, true},
		"cache is free":     {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "419430400", "sys/fs/cgroup/a/memory.current": "104857600", "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 52428800\n"}, 400, 350, true},
		"no limit":          {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 1000, 900, false},
		"of a parent":       {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "209715200\n", "sys/fs/cgroup/a/memory.current": "0"}, 200, 200, true},
		"in a container":    {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "419430400\n"}, 400, 400, true},
		"host's path":       {map[string]string{"proc/self/cgroup": v1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "419430400", "sys/fs/cgroup/memory/memory.usage_in_bytes": "104857600", "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 104857600"}, 400, 400, true},
		"version 1":         {map[string]string{"proc/self/cgroup": v1, "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "104857600", "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes": "209715200"}, 100, 0, true},
		"version 1 without": {map[string]string{"proc/self/cgroup": v1, "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "9223372036854771712"}, 1000, 900, false},
		"dots don't escape": {map[string]string{"proc/self/cgroup": "0::/../../..\n"}, 1000, 900, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(1000, 900)
			for file, text := range tc.files {
				m.put(file, text)
			}
			got, err := readRAM(m.fs())
			want := ram{uint64(tc.total) * mib, uint64(tc.available) * mib, tc.limited}
			if err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		})
	}
}

func TestMeminfoWithoutATotal(t *testing.T) {
	m := machine{}
	m.put("proc/meminfo", "MemTotal: lots kB\n")
	if got, err := readRAM(m.fs()); err == nil {
		t.Errorf("got %+v", got)
	}
}

func FuzzKernelFiles(f *testing.F) {
	f.Add("1 (a) (b) S 2 3 4")
	f.Add("cpu 1 2 3 4 5 6 7 8 9 10")
	f.Add("MemTotal: 99999999999999999999 kB\nMemAvailable: 1 kB\n0::/a/../b\n1:memory:x\nmodel name : \n")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := parseStat(text); err != nil && k.pid != 0 && k.parent != 0 && k.group != 0 {
			t.Errorf("%q: %v and %v", text, k, err)
		}
		if tick := parseTicks(text); tick.busy > tick.all {
			t.Errorf("%q: more busy than all: %+v", text, tick)
		}
		files := machine{}
		for _, name := range []string{"proc/meminfo", "proc/cpuinfo", "proc/self/cgroup", "proc/stat"} {
			files.put(name, text)
		}
		if m, err := readRAM(fstest.MapFS(files)); err == nil && m.available > m.total {
			t.Errorf("%q: %+v", text, m)
		}
		if modelName(fstest.MapFS(files)) == "" {
			t.Errorf("%q: no name", text)
		}
	})
}
