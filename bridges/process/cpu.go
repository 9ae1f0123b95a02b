package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor times in /proc: USER_HZ, which is 100 on every architecture that we build for.
const tick = 10 * time.Millisecond

// CPUTime is the processor time that a process and its living descendants have used.
func CPUTime(pid int64) (time.Duration, error) {
	ticks, err := sum(pid, cpuTicks)
	return time.Duration(ticks) * tick, err
}

func cpuTicks(pid int64) (uint64, error) {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return 0, err
	}
	// The name may hold spaces and brackets. User and system time are the 14th and 15th field, the 12th and 13th after it.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("stat of process %d has %d fields after its name", pid, len(f))
	}
	user, err := strconv.ParseUint(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseUint(f[12], 10, 64)
	return user + system, err
}
