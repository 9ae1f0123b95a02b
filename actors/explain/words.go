package explain

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"modelops/actors/model"
	"modelops/messages"
)

// mib writes an amount in the unit of the configuration, rounded up: what is said to be needed must be enough.
func mib(b uint64) string {
	n := b / messages.MiB
	if b%messages.MiB > 0 {
		n++
	}
	return fmt.Sprintf("%d MiB", n)
}

// short is an actor's name without kind and host; other words stay as they are.
func short(actor string) string {
	id, err := messages.ParseActorID(actor)
	if err != nil || id.Name() == "" {
		return actor
	}
	return id.Name()
}

// spots are the devices of a placement.
func spots(p *messages.Placement) string {
	var out []string
	for _, part := range p.GetShares() {
		out = append(out, short(part.Gpu))
	}
	return enumerate(out)
}

func shorts(actors []string) string {
	out := make([]string, len(actors))
	for i, a := range actors {
		out[i] = short(a)
	}
	return enumerate(out)
}

// enumerate writes "a", "a and b", "a, b and c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// span writes milliseconds for people, to three figures or so.
func span(ms int64) string {
	d := time.Duration(min(max(ms, 0), int64(1)<<40)) * time.Millisecond
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.String()
}

// moment writes a time in UTC, to the millisecond.
func moment(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// since writes when something began and how long ago that is.
func since(at, now time.Time) string {
	if at.IsZero() {
		return "since an unknown time"
	}
	return fmt.Sprintf("since %s (%s)", moment(at), span(now.Sub(at).Milliseconds()))
}

var sources = map[string]string{
	"declared": "as declared", "estimated": "estimated from its file", "measured": "measured when it ran before",
	"grown": "grown after it ran out of memory", "assumed": "unknown, planned for as resources.unknown_vram_mb says",
}

// attempt names a model's claim by the attempt that made it; empty for other claims, which have names that say nothing to people.
func attempt(claim string) string {
	if _, err := strconv.ParseUint(claim, 10, 64); err != nil {
		return ""
	}
	return "attempt " + claim
}

// want says what a placement is for. A claim by name has no attempt of its own: the load that took it over has.
func (r *reading) want(p *messages.Placement) string {
	a := attempt(p.GetClaim())
	for _, f := range r.window {
		if e, ok := f.event.(*messages.ModelLoadStarted); ok && a == "" {
			a = fmt.Sprint("attempt ", e.Attempt)
		}
	}
	if a == "" {
		return short(p.GetHolder())
	}
	return a + " of " + short(p.GetHolder())
}

// needed writes a need and where its figure came from.
func needed(bytes uint64, from string) string {
	if word := cmp.Or(sources[from], from); word != "" {
		return mib(bytes) + " (" + word + ")"
	}
	return mib(bytes)
}

// saidError is a failure in one line.
func saidError(e *messages.ErrorBody) string {
	if e == nil {
		return "no error was given"
	}
	s := strings.TrimSpace(cmp.Or(e.Code, "INTERNAL") + ": " + e.Message)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// victim names a victim and why it was chosen.
func victim(v *messages.Victim) string {
	if v.GetReason() == "" {
		return figures(v)
	}
	return strings.TrimSuffix(figures(v), ")") + "; " + v.GetReason() + ")"
}

// figures are what the policy saw of a victim.
func figures(v *messages.Victim) string {
	return fmt.Sprintf("%s (%s, idle for %s, %s to load again)", short(v.GetHolder()), mib(v.GetBytes()), span(v.GetIdleMs()), span(v.GetLoadMs()))
}

func victims(vs []*messages.Victim) string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = victim(v)
	}
	return enumerate(out)
}

// reason turns a fact into a line of the explanation. model is the subject's actor, if it is one: its own eviction reads otherwise.
func reason(f fact, model string) *messages.Reason {
	text := cmp.Or(modelText(f), jobText(f), goalText(f))
	if text == "" {
		text = arbiterText(f, model)
	}
	if text == "" {
		text = hostText(f)
	}
	if text == "" {
		text = gpuText(f)
	}
	if f.note != "" {
		text += "; " + f.note
	}
	return &messages.Reason{Sequence: f.sequence, At: moment(f.at), Actor: f.actor.String(), Event: messages.EventName(f.event), Text: text, Host: f.host}
}

func modelText(f fact) string {
	switch e := f.event.(type) {
	case *messages.ModelDeclared:
		return declared(e.GetSpec())
	case *messages.ModelRetired:
		return "its declaration was withdrawn: " + e.Reason
	case *messages.ModelWanted:
		return fmt.Sprintf("wanted, attempt %d: %s", e.Attempt, e.Reason)
	case *messages.ModelUnwanted:
		switch {
		case e.EvictedFor != "":
			return "evicted for " + short(e.EvictedFor) + ": " + e.Reason
		case e.Placement != "":
			return "evicted to relieve its device (" + e.Placement + ")"
		}
		return "not wanted any more: " + e.Reason
	case *messages.ModelLoadStarted:
		return fmt.Sprintf("attempt %d loads on %s with %s", e.Attempt, spots(e.GetPlacement()), mib(e.GetPlacement().Bytes()))
	case *messages.WorkerStarted:
		w := e.GetWorker()
		if w.GetRemote() {
			return "attached to " + w.GetUrl()
		}
		return fmt.Sprintf("its worker started: pid %d at %s", w.GetPid(), w.GetUrl())
	case *messages.ModelReady:
		return fmt.Sprintf("ready after %s; %s measured, %d requests at a time", span(e.LoadMs), mib(e.MeasuredBytes), e.Slots)
	case *messages.FootprintMeasured:
		return mib(e.Bytes) + " measured: its peak grew"
	case *messages.ModelPinned:
		return pinned(e)
	case *messages.ModelDraining:
		if e.Force {
			return "stops at once: " + e.Reason
		}
		return "drains: " + e.Reason
	case *messages.WorkerExited:
		if e.ExitCode == -1 || e.Reason == model.Stopped {
			return "its worker is gone: " + e.Reason
		}
		return fmt.Sprintf("its worker exited with %d: %s", e.ExitCode, e.Reason)
	case *messages.LoadFailed:
		next := "no try is left"
		if e.RetryMs > 0 {
			next = "the next try is after " + span(e.RetryMs)
		}
		memory := ""
		if e.OutOfMemory {
			memory = "; it ran out of memory, so the next try asks for a quarter more"
		}
		return fmt.Sprintf("attempt %d failed: %s; %s%s", e.Attempt, saidError(e.Error), next, memory)
	case *messages.BreakerChanged:
		return fmt.Sprintf("its breaker is %s after %d failures", e.State, e.Failures)
	}
	return sleepText(f) + replicasText(f)
}

// sleepText says what happens to a model that sleeps.
func sleepText(f fact) string {
	switch e := f.event.(type) {
	case *messages.SleepStarted:
		return "falls asleep: " + e.Reason
	case *messages.ModelAsleep:
		return "its engine sleeps and holds " + mib(e.Bytes)
	case *messages.WakeStarted:
		return "wakes up: " + e.Reason
	case *messages.ModelAwake:
		return "awake again, with the same worker"
	}
	return ""
}

// replicasText says what happens to a model's workers.
func replicasText(f fact) string {
	switch e := f.event.(type) {
	case *messages.ModelScaled:
		return fmt.Sprintf("%d workers serve it: %s", e.Replicas, e.Reason)
	case *messages.ReplicaSettled:
		if e.Up {
			return "its replica " + e.Replica + " is asked for"
		}
		return "its replica " + e.Replica + " is removed"
	case *messages.WorkerDegraded:
		return fmt.Sprintf("the worker of %s (attempt %d) doesn't do its work: %s; %s replaces it", e.Replica, e.Attempt, e.Reason, e.Replacement)
	case *messages.WorkerReplaced:
		return fmt.Sprintf("%s is ready, so the degraded worker of %s restarts", e.Replacement, e.Replica)
	case *messages.ReplacementFailed:
		return fmt.Sprintf("%s couldn't be had as a replacement of %s: %s", e.Replacement, e.Replica, saidError(e.Error))
	}
	return ""
}

func declared(s *messages.ModelSpec) string {
	out := "declared by " + cmp.Or(s.GetDeclaredBy(), "somebody") + ": runtime " + s.GetRuntime()
	if s.GetVramBytes() > 0 {
		out += ", " + mib(s.GetVramBytes())
	}
	if s.GetPinned() {
		out += ", pinned"
	}
	return out
}

func pinned(e *messages.ModelPinned) string {
	switch {
	case e.Owner == "":
		return "unpinned"
	case e.UntilMs == 0:
		return "pinned by " + e.Owner
	}
	return "pinned by " + e.Owner + " until " + moment(time.UnixMilli(e.UntilMs))
}

// victimLine is what spoke for one victim.
func victimLine(vs []*messages.Victim, model string) string {
	for _, v := range vs {
		if v.GetHolder() == model {
			return victim(v)
		}
	}
	return short(model)
}

func gpuText(f fact) string {
	switch e := f.event.(type) {
	case *messages.VramReserved:
		until := "until it is released"
		if e.TtlSeconds > 0 {
			until = fmt.Sprintf("for %d s after each renewal", e.TtlSeconds)
		}
		return fmt.Sprintf("granted %s to %s %s (lease %s, epoch %d)", mib(e.Bytes), e.Holder, until, e.Lease, f.sequence)
	case *messages.VramSettled:
		return mib(e.MeasuredBytes) + " measured; the lease holds that much"
	case *messages.VramResized:
		return "the lease holds " + mib(e.Bytes) + " from now on"
	case *messages.VramReleased:
		return "memory given back: " + e.Reason
	case *messages.LeaseExpired:
		return "the lease ran out: it was not renewed in time"
	case *messages.DeviceLost:
		return "the device was lost: " + e.Reason
	case *messages.DeviceRecovered:
		return "the device came back"
	case *messages.DeviceFaulted:
		return fmt.Sprintf("the driver reported %s %d", e.Fault, e.Code)
	}
	return messages.EventName(f.event)
}

func decidedText(e *messages.PlacementDecided, model string) string {
	p, chosen := e.GetPlacement(), chosenOf(e.Candidates)
	if model != "" && p.GetHolder() != model {
		text := fmt.Sprintf("named to leave %s for %s, which needs %s: %s", spots(p), short(p.GetHolder()), needed(p.Bytes(), e.Source.String()), victimLine(chosen.GetVictims(), model))
		if m := moveOf(e, model); m != nil {
			text += "; it " + movesTo(m)
		}
		return text
	}
	text := fmt.Sprintf("placed on %s by %s; needs %s", spots(p), e.Policy, needed(p.Bytes(), e.Source.String()))
	switch {
	case len(p.GetVictims()) > 0 && len(p.Shares) > 1:
		text += "; first has to leave " + shorts(p.Victims)
	case len(p.GetVictims()) > 0:
		text += "; first has to leave " + cmp.Or(victims(chosen.GetVictims()), shorts(p.Victims))
	}
	if len(e.Moves) > 0 {
		text += "; " + movesOn(e.Moves)
	}
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	return text
}

func moves(list []*messages.Move) string {
	var out []string
	for _, m := range list {
		out = append(out, fmt.Sprintf("%s from %s to %s (%s, cost %.3g)", short(m.Holder), short(m.From), short(m.To), mib(m.Bytes), m.Cost))
	}
	return strings.Join(out, ", then ")
}

func forWhom(e *messages.DefragDecided) string {
	if e.Holder == "" {
		return ""
	}
	return fmt.Sprintf("; %s needs %s on %s", short(e.Holder), mib(e.NeedBytes), short(e.Gpu))
}

func epochs(all []uint64) string {
	switch len(all) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(", epoch %d", all[0])
	}
	return fmt.Sprintf(", epochs %v", all)
}
