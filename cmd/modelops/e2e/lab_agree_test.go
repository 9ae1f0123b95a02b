//go:build e2e

package e2e_test

import (
	"syscall"
	"testing"
	"time"

	"modelops/messages"
)

// TestClusterAgreesAfterCuts: two hosts see each other and follow one arbiter; each goes on alone after a cut of any kind, and a healed link brings them together.
func TestClusterAgreesAfterCuts(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(func(string) string { return labDevices(sized(t, "m", 4000)) })
	a, b := hosts[0], hosts[1]
	for name, harm := range map[string]func(){
		"a cut":               func() { l.cut("main_pc", "pc2") },
		"a cut to pc2":        func() { l.cutOneWay("main_pc", "pc2") },
		"a cut to main_pc":    func() { l.cutOneWay("pc2", "main_pc") },
		"a delay of 2 s":      func() { l.slow("main_pc", "pc2", 2*time.Second) },
		"the stop of a host":  func() { b.pauses() },
		"the death of a host": func() { b.lose() },
	} {
		began := time.Now()
		harm()
		if name != "a delay of 2 s" { // each hears the other, only late
			a.misses("pc2")
			budget(l.t, name+" is noticed", time.Since(began), 1200*time.Millisecond)
			l.until("main_pc has the arbiter", func() bool { return a.cluster().GetArbiter() == "main_pc" })
		}
		a.says("m", "m")
		switch name {
		case "the stop of a host":
			_ = b.cmd.Process.Signal(syscall.SIGCONT)
		case "the death of a host":
			b.launch()
		default:
			b.says("m", "m")
		}
		began = time.Now()
		l.heal()
		l.agree(hosts...)
		budget(l.t, "heal after "+name, time.Since(began), time.Second)
	}
	if v := a.sees("pc2"); v.State != messages.MemberView_alive || v.Generation == 0 {
		t.Errorf("pc2 is %v", v)
	}
	l.settle("at the end", hosts...)
}
