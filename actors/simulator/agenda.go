package simulator

import (
	"container/heap"
	"time"
)

// event is something that happens at a moment of virtual time.
type event struct {
	at  time.Duration
	tie uint64 // chance decides between events of one moment
	do  func()
	of  *World // in whose coordinator it happens; nil = in none
}

type agenda []event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].at != a[j].at {
		return a[i].at < a[j].at
	}
	return a[i].tie < a[j].tie
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push implements heap.Interface.
func (a *agenda) Push(x any) { *a = append(*a, x.(event)) }

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*a = old[:len(old)-1]
	return last
}

// after puts something on the agenda. It happens whether the coordinator runs then or not.
func (w *World) after(d time.Duration, do func()) {
	heap.Push(&w.agenda, event{at: w.elapsed + d, tie: w.rng.Uint64(), do: do, of: w})
}

// after is the same for what happens in no coordinator.
func (u *universe) after(d time.Duration, do func()) {
	heap.Push(&u.agenda, event{at: u.elapsed + d, tie: u.rng.Uint64(), do: do})
}

// alive is after for what dies with the coordinator.
func (w *World) alive(d time.Duration, do func()) {
	boot := w.boot
	w.after(d, func() {
		if w.boot == boot && !w.down {
			do()
		}
	})
}
