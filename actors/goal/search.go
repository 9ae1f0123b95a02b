package goal

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Auto-tuning is successive halving (Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016), in brackets that
// follow each other as long as target and budget let them (Li et al.: Hyperband, 2018). A bracket begins with trials of random settings and few
// steps. The best third of a rung goes on with three times the steps, until the last rung has all of them. Random numbers come from seed, bracket and
// trial, so that the same goal with the same results tries the same.
//
// No library does it: goptuna, the only one in Go with successive halving, asks for a study with a store of its own, from which it draws at the
// time it likes, and the module proxy doesn't have it any more.
const (
	eta         = 3
	mostTrials  = 27 // in a bracket: with 40 runs it fits into the runs that are kept
	usualTrials = 9
	stepsName   = "steps"
)

// Search is where auto-tuning stands.
type Search struct {
	Bracket uint32   `json:",omitempty"` // 0 = none began
	Trials  uint32   `json:",omitempty"`
	Rung    uint32   `json:",omitempty"`
	Kept    []uint32 `json:",omitempty"` // trials of the present rung
	Over    bool     `json:",omitempty"` // the next run begins another bracket
	Through bool     `json:",omitempty"` // the bracket went through all its rungs
}

func newSearch(bracket, trials uint32) Search {
	s := Search{Bracket: bracket, Trials: trials}
	for i := range trials {
		s.Kept = append(s.Kept, i)
	}
	return s
}

// sameSearch tells whether two specifications have the same trials and the same order of them.
func sameSearch(a, b *messages.GoalSpec) bool {
	return a.GetSeed() == b.GetSeed() && metric(a) == metric(b) && a.GetComparison() == b.GetComparison() && maps.Equal(a.GetParameters(), b.GetParameters()) &&
		a.GetModel() == b.GetModel() && a.GetRecipe() == b.GetRecipe() && a.GetDataset() == b.GetDataset() && a.GetEvaluation() == b.GetEvaluation() && a.GetEvalDataset() == b.GetEvalDataset() &&
		slices.EqualFunc(a.GetSearch(), b.GetSearch(), func(x, y *messages.Dimension) bool { return proto.Equal(x, y) })
}

// steps is what a trial of the last rung gets.
func steps(spec *messages.GoalSpec) uint64 {
	n, _ := strconv.ParseUint(spec.GetParameters()[stepsName], 10, 63)
	return n
}

// lastRung is the last rung of a bracket, from 0: as many as its trials can be divided, and the steps of the last one.
func lastRung(spec *messages.GoalSpec, trials uint32) uint32 {
	rung, n, all := uint32(0), trials, steps(spec)
	for ; n >= eta && all >= eta; n, all = n/eta, all/eta {
		rung++
	}
	return rung
}

// total is how many runs a bracket has.
func total(spec *messages.GoalSpec, trials uint32) uint32 {
	sum, n := trials, trials
	for range lastRung(spec, trials) {
		n = max(n/eta, 1)
		sum += n
	}
	return sum
}

// size is the number of trials that a bracket begins with, so that its runs fit into those that are left; left 0 = no bound.
func size(spec *messages.GoalSpec, left uint32) uint32 {
	n := uint32(usualTrials)
	if left > 0 {
		n = mostTrials
	}
	n = min(n, combinations(spec))
	for n > 1 && left > 0 && total(spec, n) > left {
		n--
	}
	return n
}

// combinations is how many settings the space has; at most mostTrials.
func combinations(spec *messages.GoalSpec) uint32 {
	product := uint32(1)
	for _, d := range spec.Search {
		n := mostTrials
		switch {
		case len(d.Values) > 0:
			n = len(d.Values)
		case d.Whole:
			n = int(min(math.Floor(d.High)-math.Ceil(d.Low)+1, mostTrials))
		}
		product = min(product*uint32(n), mostTrials)
	}
	return max(product, 1)
}

// trial is what the next run tries.
type trial struct {
	bracket, trials, rung, trial uint32
	parameters                   map[string]string
}

func (s State) nextTrial() trial {
	x := s.Search
	if x.Bracket == 0 || x.Over {
		left := uint32(0)
		if s.Spec.BudgetRuns > 0 {
			left = s.Spec.BudgetRuns - min(s.Count, s.Spec.BudgetRuns-1)
		}
		x = newSearch(x.Bracket+1, size(s.Spec, left))
	}
	out := trial{bracket: x.Bracket, trials: x.Trials, rung: x.Rung, trial: x.Kept[0]}
	for _, n := range x.Kept {
		if !slices.ContainsFunc(s.Runs, func(r Run) bool { return r.Bracket == x.Bracket && r.Rung == x.Rung && r.Trial == n }) {
			out.trial = n
			break
		}
	}
	out.parameters = settings(s.Spec, x, out.trial)
	return out
}

// settings are a trial's parameters in its rung.
func settings(spec *messages.GoalSpec, x Search, n uint32) map[string]string {
	out := maps.Clone(spec.Parameters)
	maps.Copy(out, drawn(spec, x.Bracket, n))
	all := steps(spec)
	for range lastRung(spec, x.Trials) - x.Rung {
		all = max(all/eta, 1)
	}
	out[stepsName] = strconv.FormatUint(all, 10)
	return out
}

// drawn are the settings of a trial: each one of a bracket is another one, as long as the space has others.
func drawn(spec *messages.GoalSpec, bracket, n uint32) map[string]string {
	var before []map[string]string
	for i := range n + 1 {
		var p map[string]string
		for try := range uint64(64) {
			p = point(spec, uint64(bracket)<<32|uint64(i), try)
			if !slices.ContainsFunc(before, func(q map[string]string) bool { return maps.Equal(p, q) }) {
				break
			}
		}
		before = append(before, p)
	}
	return before[n]
}

func point(spec *messages.GoalSpec, of, try uint64) map[string]string {
	p := map[string]string{}
	for i, d := range spec.Search {
		p[d.Name] = value(d, uniform(spec.Seed, of, try, uint64(i)))
	}
	return p
}

// value is a parameter's at a place from 0 to 1 of its dimension.
func value(d *messages.Dimension, at float64) string {
	if len(d.Values) > 0 {
		return d.Values[min(int(at*float64(len(d.Values))), len(d.Values)-1)]
	}
	low, high := d.Low, d.High
	if d.Whole {
		low, high = math.Ceil(low), math.Floor(high)
		if !d.Log { // each number has the same share, the first and last too
			return strconv.FormatFloat(min(low+math.Floor(at*(high-low+1)), high), 'f', 0, 64)
		}
	}
	v := low + at*(high-low)
	if d.Log {
		v = low * math.Pow(high/low, at)
	}
	if d.Whole {
		return strconv.FormatFloat(min(max(math.Round(v), low), high), 'f', 0, 64)
	}
	text := strconv.FormatFloat(v, 'g', 6, 64)
	if high-low < 1e-3*max(math.Abs(low), math.Abs(high)) { // six digits would be too few to tell its trials apart
		return strconv.FormatFloat(min(max(v, low), high), 'g', -1, 64)
	}
	if near, _ := strconv.ParseFloat(text, 64); near < low || near > high {
		return strconv.FormatFloat(min(max(v, low), high), 'g', -1, 64)
	}
	return text
}

// uniform is a number from 0 to 1 that depends on its arguments only: the mixing function of splitmix64 (Steele, Lea, Flood 2014), folded over them.
func uniform(parts ...uint64) float64 {
	var x uint64
	for _, p := range parts {
		x += p + 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return float64(x>>11) / (1 << 53)
}

// rungDone says which trials go on when all of the rung have ended; nil while some haven't.
func (s State) rungDone() *messages.RungEnded {
	x := s.Search
	if x.Bracket == 0 || x.Over {
		return nil
	}
	var tried []Run
	for _, r := range s.Runs {
		if r.Bracket == x.Bracket && r.Rung == x.Rung {
			tried = append(tried, r)
		}
	}
	if len(tried) < len(x.Kept) {
		return nil
	}
	out := &messages.RungEnded{Bracket: x.Bracket, Rung: x.Rung}
	ranked := slices.DeleteFunc(tried, func(r Run) bool { _, ok := r.figure(s.Spec); return !ok })
	slices.SortStableFunc(ranked, func(a, b Run) int { return cmp.Or(s.rank(a, b), cmp.Compare(a.Trial, b.Trial)) })
	if x.Rung == lastRung(s.Spec, x.Trials) {
		return out
	}
	for i, r := range ranked {
		if i < max(len(x.Kept)/eta, 1) {
			out.Kept = append(out.Kept, r.Trial)
		} else {
			out.Halved = append(out.Halved, r.Trial)
		}
	}
	return out
}

func (s State) rank(a, b Run) int {
	x, _ := a.figure(s.Spec)
	y, _ := b.figure(s.Spec)
	switch {
	case better(s.Spec, x, y):
		return -1
	case better(s.Spec, y, x):
		return 1
	}
	return 0
}

func (s State) rungEnded(e *messages.RungEnded) State {
	s.Runs = slices.Clone(s.Runs)
	for i, r := range s.Runs {
		if r.Bracket == e.Bracket && r.Rung == e.Rung && slices.Contains(e.Halved, r.Trial) && r.Result == messages.GoalRun_tried {
			s.Runs[i].Result, s.Runs[i].Reason = messages.GoalRun_halved, r.Reason+", and others of the rung were better"
		}
	}
	s.Search.Rung, s.Search.Kept = e.Rung+1, e.Kept
	if len(e.Kept) == 0 {
		s.Search.Over, s.Search.Through = true, true
	}
	return s
}
