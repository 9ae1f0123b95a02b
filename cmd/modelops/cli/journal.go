package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/journal"
	"modelops/messages"
)

func (c *cli) journalCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "journal", Short: "Read, check, copy and repair the journal", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(c.journalTailCommand(), c.journalCopiesCommand(), c.journalVerifyCommand(), c.journalExportCommand(), c.journalRepairCommand())
	return cmd
}

// filter selects decisions by actor and event type.
type filter struct {
	actor string
	id    messages.ActorID // of actor, once it is looked up
	types []string
}

func (f filter) takes(r messages.Recorded) bool {
	if len(f.types) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Decision.Events, func(e *messages.Event) bool {
		return slices.ContainsFunc(f.types, func(t string) bool { return e.Type == t || strings.HasPrefix(e.Type, t+".") })
	})
}

func (c *cli) journalTailCommand() *cobra.Command {
	var only filter
	var n int
	var follow bool
	var host string
	cmd := &cobra.Command{
		Use: "tail", Args: cobra.NoArgs,
		Short: "Print the latest decisions",
		Long: "tail prints the latest decisions of the host that answers, and in a cluster those of all hosts, from the copies that it keeps: each host's in\n" +
			"their order, and a decision after the one of another host that caused it.",
		Example: "  modelops journal tail -f\n  modelops journal tail -n 100 --actor model/tiny --type model.ready",
	}
	f := cmd.Flags()
	f.IntVarP(&n, "lines", "n", 20, "how many decisions")
	f.BoolVarP(&follow, "follow", "f", false, "keep printing new decisions")
	f.StringVar(&host, "host", "", "only decisions of this host")
	c.filterFlags(cmd, &only)
	cmd.RunE = act(func(ctx context.Context, _ []string) error {
		if n < 0 {
			return messages.NewError(messages.InvalidArgument, "--lines", "it is negative")
		}
		opening, cancel := c.within(ctx, shortWait)
		defer cancel()
		src, err := c.openSourceOfHost(opening, host)
		if err != nil {
			return err
		}
		defer src.close()
		all := []*source{src}
		if host == "" {
			all = append(all, c.copies(opening, src)...)
		}
		return c.tail(ctx, all, only, n, follow)
	})
	return cmd
}

func (c *cli) filterFlags(cmd *cobra.Command, only *filter) {
	f := cmd.Flags()
	f.StringVar(&only.actor, "actor", "", "only decisions of this actor")
	f.StringSliceVar(&only.types, "type", nil, "only decisions with an event of this type (model.ready) or kind (model)")
	_ = cmd.RegisterFlagCompletionFunc("actor", c.completeActors())
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(messages.EventNames(), cobra.ShellCompDirectiveNoFileComp))
}

// copies are those that the host of a source keeps of other hosts' journals; none for a caller who may not see the cluster.
func (c *cli) copies(ctx context.Context, src *source) (out []*source) {
	if src.client == nil {
		p, err := c.findPlace()
		if err != nil {
			return nil
		}
		dir := filepath.Join(p.dataDir, "peers")
		hosts, _ := journal.CopiedHosts(dir)
		for _, host := range hosts {
			if kept, err := journal.TheCopy(ctx, dir, host, journal.CurrentCopy); err == nil {
				out = append(out, &source{journal: kept, host: host, last: kept.Sequence(), copy: true})
			}
		}
		return out
	}
	cluster, err := src.client.GetCluster(ctx, nil)
	if err != nil {
		return nil
	}
	for _, m := range cluster.Members {
		if !m.Self { // also one whose copy hasn't begun: it may be followed
			out = append(out, &source{journal: journal.NewRemoteCopy(m.Host, "", src.client), host: m.Host, last: m.Copied, client: src.client, copy: true})
		}
	}
	return out
}

// tail prints the last n decisions of some journals, and then new ones.
func (c *cli) tail(ctx context.Context, all []*source, only filter, n int, follow bool) error {
	if only.actor != "" {
		id, err := all[0].actor(ctx, only.actor, all[1:]...)
		if err != nil {
			return err
		}
		only.id = id
	}
	c.manyHosts = len(all) > 1
	last := make([][]messages.Recorded, len(all))
	for i, src := range all {
		var err error
		if last[i], err = src.tail(ctx, only, n); err != nil {
			return err
		}
	}
	type line struct {
		host string
		r    messages.Recorded
	}
	var lines []line
	_ = messages.InOrder(last, func(i int, r messages.Recorded) error { lines = append(lines, line{all[i].host, r}); return nil })
	for _, l := range lines[max(0, len(lines)-n):] {
		if err := c.printRecorded(l.host, l.r); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	if all[0].client == nil {
		fmt.Fprintln(c.stderr, "the daemon is not running: there are no new decisions to follow")
		return nil
	}
	return c.followAll(ctx, all, only)
}

// tail is the last n decisions of the journal that a filter takes.
func (s *source) tail(ctx context.Context, only filter, n int) (last []messages.Recorded, err error) {
	q := journal.Query{Unknown: true, Until: s.last, Actor: only.id}
	if s.last == 0 {
		return nil, nil
	}
	if only.actor == "" && len(only.types) == 0 { // without a filter the last n decisions are the last n sequences
		q.After = s.last - min(uint64(n), s.last)
	}
	err = s.journal.Replay(ctx, q, func(r messages.Recorded) error {
		if only.takes(r) && n > 0 {
			last = append(last[max(0, len(last)+1-n):], r)
		}
		return nil
	})
	return last, err
}

// followAll prints new decisions of all journals as they come, until ctx ends or one can't be read.
func (c *cli) followAll(ctx context.Context, all []*source, only filter) error {
	if len(all) > 1 {
		var after []string
		for _, s := range all {
			if s.last > 0 {
				after = append(after, fmt.Sprintf("%s=%d", s.host, s.last))
			}
		}
		return c.watch(ctx, all[0].client, &messages.WatchRequest{After: strings.Join(after, ","), Actor: only.actor}, only)
	}
	return all[0].journal.Follow(ctx, all[0].last, func(r messages.Recorded) error {
		if !only.takes(r) || only.actor != "" && r.Actor != only.id {
			return nil
		}
		return c.printRecorded(all[0].host, r)
	})
}

// recordedJSON is a decision as one line of JSON.
type recordedJSON struct {
	Sequence    uint64      `json:"sequence"`
	At          time.Time   `json:"at"`
	Actor       string      `json:"actor"`
	ID          string      `json:"id"`
	Correlation string      `json:"correlation"`
	Causation   string      `json:"causation,omitempty"`
	Boot        string      `json:"boot"`
	Host        string      `json:"host,omitempty"` // whose journal; in a cluster
	Events      []eventJSON `json:"events"`
}

type eventJSON struct {
	Type    string          `json:"type"`
	Version uint32          `json:"version"`
	Body    json.RawMessage `json:"body,omitempty"` // absent for types that this build doesn't know
}

func shownRecord(r messages.Recorded) recordedJSON {
	out := recordedJSON{Sequence: r.Sequence, At: r.At, Actor: r.Actor.String(), ID: r.ID, Correlation: r.Meta.Correlation, Causation: r.Meta.Causation, Boot: r.BootID}
	for i, e := range r.Decision.Events {
		ev := eventJSON{Type: e.Type, Version: e.Version}
		if i < len(r.Events) {
			ev.Body = compact(r.Events[i])
		}
		out.Events = append(out.Events, ev)
	}
	return out
}

// printRecorded writes a decision: a line for each event, or one line of JSON.
func (c *cli) printRecorded(host string, r messages.Recorded) error {
	shown := shownRecord(r)
	before := ""
	if c.manyHosts {
		shown.Host, before = host, host+"  "
	}
	if c.asJSON {
		return printJSONLine(c.stdout, shown)
	}
	for _, e := range shown.Events {
		body := string(e.Body)
		if e.Body == nil {
			body = fmt.Sprintf("(version %d, unknown to this build)", e.Version)
		}
		if _, err := fmt.Fprintf(c.stdout, "%s%d  %s  %s  %s  %s\n", before, r.Sequence, r.At.Local().Format("2006-01-02 15:04:05.000"), r.Actor, e.Type, body); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) journalCopiesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "copies", Args: cobra.NoArgs,
		Short: "List the copies of other hosts' journals that a host keeps",
		Long: "copies lists the copies that the host which answers keeps: of which host's journal, the start of that host in which the last decision was made,\n" +
			"that decision's sequence, how many decisions it is BEHIND what its host told, and for how long. A copy that was kept is of a journal that its\n" +
			"host doesn't have any more: `modelops restore` takes the longest one. With journal.archive: hub the copy of the host's own journal is listed too.",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error {
			v, err := k.GetCluster(ctx, nil)
			if err != nil {
				return err
			}
			return show(c, &messages.ClusterView{Host: v.Host, Copies: v.Copies, Hub: v.Hub}, c.printCopies)
		}),
	}
}

func (c *cli) printCopies(v *messages.ClusterView) error {
	t := table{columns: []string{"HOST", "COPY", "START", "LAST", "BEHIND", "AGE"}}
	for _, k := range v.Copies {
		behind, age := "-", "-"
		if k.Name == journal.CurrentCopy {
			behind, age = strconv.FormatUint(k.Told-min(k.Copied, k.Told), 10), lasting(time.Duration(k.AgeMs)*time.Millisecond)
		}
		t.add(k.Host, k.Name, cmp.Or(k.BootId, "-"), strconv.FormatUint(k.Copied, 10), behind, age)
	}
	archive := v.GetHub().GetArchive()
	if a := archive; a != nil {
		t.add(v.Host, "at the hub", "-", strconv.FormatUint(a.Archived, 10), strconv.FormatUint(a.Sequence-min(a.Archived, a.Sequence), 10), "-")
	}
	if err := t.print(c.stdout); err != nil {
		return err
	}
	if archive.GetNote() != "" {
		fmt.Fprintln(c.stdout, "note: "+archive.Note)
	}
	for _, k := range v.Copies {
		if k.Note != "" {
			fmt.Fprintln(c.stdout, "note: "+k.Note)
		}
	}
	return nil
}

func (c *cli) journalVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify [DIR]", Args: cobra.MaximumNArgs(1),
		Short: "Check every byte of a stopped daemon's journal",
		Long: "verify reads a journal that no daemon has open, and checks every record's checksum, the sequence for gaps, the chain of each actor's\n" +
			"decisions, and the high-water mark. It changes nothing. The exit code is 7 if the journal is damaged. DIR is the journal directory or\n" +
			"the data directory that contains it.",
		RunE: act(func(ctx context.Context, args []string) error {
			dir, err := c.journalDir(args)
			if err != nil {
				return err
			}
			bar := c.progress("reading " + dir)
			defer bar.done()
			report, err := journal.Verify(ctx, dir)
			if messages.CodeOf(err) == messages.Conflict {
				return messages.AsError(err).WithHint("stop the daemon first; `modelops replay` reads the journal of a running one")
			}
			if err != nil {
				return err
			}
			bar.done()
			return c.printVerified(report)
		}),
	}
}

func (c *cli) journalDir(args []string) (string, error) {
	if len(args) == 0 {
		p, err := c.findPlace()
		return p.journal, err
	}
	return journalWithin(args[0]), nil
}

func (c *cli) printVerified(r journal.Report) error {
	damaged := r.Err()
	if c.asJSON {
		if err := printJSON(c.stdout, r); err != nil {
			return err
		}
		if damaged == nil {
			damaged = r.Readable()
		}
		return damaged
	}
	if r.Torn != nil {
		fmt.Fprintf(c.stdout, "the last record is incomplete and was never acknowledged: %s at byte %d; the next start removes it\n", r.Torn.File, r.Torn.Offset)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(c.stdout, "sequence %d: %s", p.Sequence, p.What)
		if p.File != "" {
			fmt.Fprintf(c.stdout, " (%s at byte %d)", p.File, p.Offset)
		}
		fmt.Fprintln(c.stdout)
	}
	if damaged != nil {
		return damaged
	}
	if err := r.Readable(); err != nil {
		return err
	}
	if r.Last == 0 {
		fmt.Fprintf(c.stdout, "%s has no decisions yet\n", r.Dir)
		return nil
	}
	fmt.Fprintf(c.stdout, "intact: host %s, sequences %d to %d, %d decisions of %d actors, %s in %d blocks, high-water mark %d\n", r.Host, r.First, r.Last, r.Decisions,
		r.Actors, messages.FormatBytes(uint64(r.Bytes)), r.Blocks, r.Mark)
	return nil
}
