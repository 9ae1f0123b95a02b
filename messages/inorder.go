package messages

// InOrder passes the decisions of several journals as one: each journal's in its own order, a decision after the one of another journal that caused
// it, and otherwise by time. Clocks of hosts differ, so time alone would show some effects before their causes.
func InOrder(lists [][]Recorded, pass func(list int, r Recorded) error) error {
	at := make([]int, len(lists))
	waiting := map[string]int{} // decisions that weren't passed yet, and whose journal's they are
	for n, list := range lists {
		for _, r := range list {
			waiting[r.ID] = n
		}
	}
	for {
		n := next(lists, at, waiting)
		if n < 0 {
			return nil
		}
		r := lists[n][at[n]]
		at[n]++
		delete(waiting, r.ID)
		if err := pass(n, r); err != nil {
			return err
		}
	}
}

// next is the list whose first decision comes next, -1 when all were passed. Of those that wait for no cause it is the earliest. When all wait for
// each other, which no journals do that tell the truth, it is the earliest of all.
func next(lists [][]Recorded, at []int, waiting map[string]int) int {
	free, earliest := -1, -1
	for n, list := range lists {
		if at[n] == len(list) {
			continue
		}
		r := list[at[n]]
		if earliest < 0 || r.At.Before(lists[earliest][at[earliest]].At) {
			earliest = n
		}
		cause, waits := waiting[r.Meta.Causation]
		if waits && cause != n {
			continue
		}
		if free < 0 || r.At.Before(lists[free][at[free]].At) {
			free = n
		}
	}
	if free < 0 {
		return earliest
	}
	return free
}
