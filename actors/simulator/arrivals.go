package simulator

import (
	"cmp"
	"slices"
	"time"
)

// arrivals brings requests in at random, sometimes many at a time.
func (w *World) arrivals() {
	if w.calm {
		return
	}
	w.after(time.Duration(w.rng.ExpFloat64()/w.o.Rate*float64(time.Second)), w.arrivals)
	i, burst := w.pick(), 1
	if w.rng.IntN(20) == 0 {
		burst = 1 + w.rng.IntN(12)
	}
	for range burst {
		w.call(w.o.Models[i].Name, w.service())
	}
	w.rescale(i)
}

// service is how long a request runs: mostly short, sometimes long.
func (w *World) service() time.Duration {
	d := time.Duration(w.rng.ExpFloat64() * float64(400*time.Millisecond))
	if w.rng.IntN(50) == 0 {
		d *= 20
	}
	return 5*time.Millisecond + min(d, runLongest/2)
}

func (w *World) pick() int {
	var sum float64
	for _, m := range w.o.Models {
		sum += cmp.Or(m.Weight, 1)
	}
	at := w.rng.Float64() * sum
	for i, m := range w.o.Models {
		if at -= cmp.Or(m.Weight, 1); at < 0 {
			return i
		}
	}
	return len(w.o.Models) - 1
}

// call asks a model for something that takes a while.
func (w *World) call(name string, takes time.Duration) *request {
	r := &request{model: slices.IndexFunc(w.o.Models, func(m Model) bool { return m.Name == name }), arrived: w.elapsed, takes: takes, calm: w.calm}
	if w.o.Classes > 1 {
		r.class = w.rng.IntN(w.o.Classes)
	}
	w.tally.came(r)
	w.fronts[r.model].arrive(r)
	return r
}
