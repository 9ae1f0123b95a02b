package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/journal"
	"modelops/messages"
)

func (c *cli) replayCommand() *cobra.Command {
	var full bool
	var host string
	cmd := &cobra.Command{
		Use: "replay", Args: cobra.NoArgs,
		Short: "Rebuild every actor from the journal and compare it with the running daemon",
		Long: "replay reads the whole journal in this process, folds the state of every actor from it, and compares each state with the live one at the\n" +
			"same sequence. The exit code is 1 if any differs. With the journal of a stopped daemon (--data-dir) it only checks that the journal can\n" +
			"be folded.\n\n" +
			"In a cluster the copies of the other hosts' journals are folded too. --host reads one of them alone.",
		Example: "  modelops replay\n  modelops replay --data-dir .modelops",
	}
	cmd.Flags().StringVar(&host, "host", "", "check the copy that is kept of this host's journal")
	cmd.Flags().BoolVar(&full, "full", false, "show all differences (default: the first 20 of each actor)")
	cmd.RunE = act(func(ctx context.Context, _ []string) error {
		ctx, cancel := c.within(ctx, longWait)
		defer cancel()
		src, err := c.openSourceOfHost(ctx, host)
		if err != nil {
			return err
		}
		defer src.close()
		bar := c.progress("reading the journal")
		defer bar.done()
		r := replay{entities: map[messages.ActorID]*folded{}}
		if err := r.read(ctx, src, bar); err != nil {
			return err
		}
		live := src.client != nil && !src.copy
		if live {
			r.compareAll(ctx, src)
		}
		if host == "" {
			if err := r.readCopies(ctx, c.copies(ctx, src), bar); err != nil {
				return err
			}
		}
		bar.done()
		return c.printReplay(r.report(live), full)
	})
	return cmd
}

// replay folds a journal and counts what it reads.
type replay struct {
	entities  map[messages.ActorID]*folded
	decisions int
	events    int
	took      time.Duration
	results   []replayed
	copied    []replayed // of the copies
}

// replayed is the result of one actor.
type replayed struct {
	Actor       string       `json:"actor"`
	Host        string       `json:"host,omitempty"` // of whose journal the copy was folded; empty = the host's own journal
	Sequence    uint64       `json:"sequence"`
	Result      string       `json:"result"` // equal, differs, unknown or folded
	Error       string       `json:"error,omitempty"`
	Differences []difference `json:"differences,omitempty"`
}

func (r *replay) read(ctx context.Context, src *source, bar *progress) error {
	began := time.Now()
	err := src.journal.Replay(ctx, journal.Query{}, func(rec messages.Recorded) error {
		if r.decisions++; r.decisions%1000 == 0 {
			bar.at(int64(rec.Sequence), int64(src.last), false)
		}
		r.events += len(rec.Events)
		return r.apply(rec)
	})
	r.took = time.Since(began)
	return err
}

// readCopies folds the copies of other hosts' journals, each by itself.
func (r *replay) readCopies(ctx context.Context, all []*source, bar *progress) error {
	for _, src := range all {
		if src.last == 0 { // the copy hasn't begun
			continue
		}
		one := replay{entities: map[messages.ActorID]*folded{}}
		if err := one.read(ctx, src, bar); err != nil {
			return messages.Errorf(messages.CodeOf(err), "copy of the journal of "+src.host, "%w", err)
		}
		for _, e := range one.report(false).Entities {
			e.Host = src.host
			r.copied = append(r.copied, e)
		}
		r.decisions, r.events, r.took = r.decisions+one.decisions, r.events+one.events, r.took+one.took
	}
	return nil
}

func (r *replay) apply(rec messages.Recorded) error {
	f := r.entities[rec.Actor]
	if f == nil {
		var err error
		if f, err = newFold(rec.Actor); err != nil {
			return messages.Errorf(messages.JournalDamaged, rec.Actor.String(), "sequence %d: no actor of this kind keeps a journal", rec.Sequence)
		}
		r.entities[rec.Actor] = f
	}
	f.apply(rec)
	return nil
}

func (r *replay) actors() []messages.ActorID {
	return slices.SortedFunc(maps.Keys(r.entities), func(a, b messages.ActorID) int { return strings.Compare(a.String(), b.String()) })
}

func (r *replay) compareAll(ctx context.Context, src *source) {
	r.addUnrecorded(ctx, src.client)
	for _, id := range r.actors() {
		out := replayed{Actor: id.String()}
		if id.Host() == "" && answersElsewhere(ctx, src, id) {
			r.results = append(r.results, replayed{Actor: id.String(), Sequence: r.entities[id].sequence(), Result: "folded"})
			continue
		}
		found, err := compareLive(ctx, src, id, r.entities[id])
		out.Sequence = r.entities[id].sequence()
		switch {
		case err != nil:
			out.Result, out.Error = "unknown", err.Error()
		case len(found) > 0:
			out.Result, out.Differences = "differs", found
		default:
			out.Result = "equal"
		}
		r.results = append(r.results, out)
	}
}

// answersElsewhere tells whether another host's arbiter answers in place of this one's, which can't be asked then.
func answersElsewhere(ctx context.Context, src *source, id messages.ActorID) bool {
	live, err := liveState(ctx, src.client, id.String())
	return err == nil && live.Host != src.host
}

// addUnrecorded adds the actors that the daemon has and that the journal, as far as it was read, doesn't have: they are new, or their
// records are lost.
func (r *replay) addUnrecorded(ctx context.Context, k *client) {
	s, err := k.GetStatus(ctx, nil)
	if err != nil {
		return // the comparisons report it
	}
	for _, text := range shownActors(s) {
		id, err := messages.ParseActorID(text)
		if err != nil || r.entities[id] != nil || id.Host() != s.GetHost().GetHost() { // others' are in their journals
			continue
		}
		if f, err := newFold(id); err == nil {
			r.entities[id] = f
		}
	}
}

// shownActors are the actors of a status that keep a journal, here or at another host.
func shownActors(s *messages.StatusView) []string {
	out := []string{messages.HostActor(s.GetHost().GetHost()).String()}
	for _, g := range s.Gpus {
		out = append(out, g.Id)
	}
	for _, m := range s.Models {
		out = append(out, m.Id)
	}
	return out
}

// compareLive reads the journal up to the sequence of the live actor, and compares the states there.
func compareLive(ctx context.Context, src *source, id messages.ActorID, f *folded) ([]difference, error) {
	live, err := awaitLive(ctx, src.client, id, f.sequence())
	if err != nil {
		return nil, err
	}
	if live.Sequence > f.sequence() {
		q := journal.Query{Actor: id, After: f.sequence(), Until: live.Sequence}
		if err := src.journal.Replay(ctx, q, func(r messages.Recorded) error { f.apply(r); return nil }); err != nil {
			return nil, err
		}
	}
	if live.Sequence != f.sequence() {
		return []difference{{Path: "sequence", Journal: fmt.Sprint(f.sequence()), Live: fmt.Sprint(live.Sequence)}}, nil
	}
	state, err := f.stateJSON()
	if err != nil {
		return nil, err
	}
	return diffJSON(state, []byte(live.StateJson))
}

const (
	liveTries = 20
	livePause = 50 * time.Millisecond
)

// awaitLive asks for the live state until it has reached a sequence. A decision is in the journal a moment before its actor folds it, and
// an actor that has just crashed answers again soon.
func awaitLive(ctx context.Context, k *client, id messages.ActorID, atLeast uint64) (live *messages.StateReply, err error) {
	for range liveTries {
		if live, err = k.GetState(ctx, &messages.StateRequest{Actor: id.String()}); err == nil && live.Sequence >= atLeast {
			return live, nil
		}
		if err != nil && messages.CodeOf(err) != messages.Unavailable {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(livePause):
		}
	}
	return live, err
}

// replayReport is the result of a replay.
type replayReport struct {
	Equal     bool       `json:"equal"`    // nothing differs; true as well when nothing was compared
	Compared  bool       `json:"compared"` // with a running daemon
	Entities  []replayed `json:"entities"`
	Decisions int        `json:"decisions"`
	Events    int        `json:"events"`
	Seconds   float64    `json:"seconds"`
	Rate      float64    `json:"events_per_second"`
}

func (r *replay) report(compared bool) replayReport {
	out := replayReport{Equal: true, Compared: compared, Entities: append([]replayed{}, r.results...), Decisions: r.decisions, Events: r.events, Seconds: r.took.Seconds()}
	if !compared {
		for _, id := range r.actors() {
			out.Entities = append(out.Entities, replayed{Actor: id.String(), Sequence: r.entities[id].sequence(), Result: "folded"})
		}
	}
	out.Entities = append(out.Entities, r.copied...)
	for _, e := range out.Entities {
		out.Equal = out.Equal && (e.Result == "equal" || e.Result == "folded")
	}
	if r.took > 0 {
		out.Rate = float64(r.events) / r.took.Seconds()
	}
	return out
}

const shownDifferences = 20

func (c *cli) printReplay(r replayReport, full bool) error {
	if c.asJSON {
		if err := printJSON(c.stdout, r); err != nil {
			return err
		}
	} else {
		c.printReplayed(r, full)
	}
	if !r.Equal {
		return quietExit(exitNo)
	}
	return nil
}

func (c *cli) printReplayed(r replayReport, full bool) {
	for _, e := range r.Entities {
		of := ""
		if e.Host != "" {
			of = " of the copy of the journal of " + e.Host
		}
		fmt.Fprintf(c.stdout, "%-8s %s at sequence %d%s\n", e.Result, e.Actor, e.Sequence, of)
		if e.Error != "" {
			fmt.Fprintln(c.stdout, "         "+e.Error)
		}
		for i, d := range e.Differences {
			if i == shownDifferences && !full {
				fmt.Fprintf(c.stdout, "         and %d more; --full shows all\n", len(e.Differences)-i)
				break
			}
			fmt.Fprintf(c.stdout, "         %s\n", d)
		}
	}
	verdict := "equal"
	switch {
	case !r.Equal:
		verdict = "different"
	case !r.Compared:
		verdict = "the journal can be folded (there is no running daemon to compare with)"
	}
	fmt.Fprintf(c.stdout, "%s: %d actors, %d decisions, %d events in %s, %.0f events/s\n", verdict, len(r.Entities), r.Decisions, r.Events,
		lasting(time.Duration(r.Seconds*float64(time.Second))), r.Rate)
}
