package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/journal"
	"modelops/messages"
)

func (c *cli) journalCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "journal", Short: "Read, check, copy and repair the journal", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(c.journalTailCommand(), c.journalVerifyCommand(), c.journalExportCommand(), c.journalRepairCommand())
	return cmd
}

// filter selects decisions by actor and event type.
type filter struct {
	actor string
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
	cmd := &cobra.Command{
		Use: "tail", Args: cobra.NoArgs,
		Short:   "Print the latest decisions",
		Example: "  modelops journal tail -f\n  modelops journal tail -n 100 --actor model/tiny --type model.ready",
	}
	f := cmd.Flags()
	f.IntVarP(&n, "lines", "n", 20, "how many decisions")
	f.BoolVarP(&follow, "follow", "f", false, "keep printing new decisions")
	f.StringVar(&only.actor, "actor", "", "only decisions of this actor")
	f.StringSliceVar(&only.types, "type", nil, "only decisions with an event of this type (model.ready) or kind (model)")
	_ = cmd.RegisterFlagCompletionFunc("actor", c.completeActors())
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(messages.EventNames(), cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = act(func(ctx context.Context, _ []string) error {
		if n < 0 {
			return messages.NewError(messages.InvalidArgument, "--lines", "it is negative")
		}
		opening, cancel := c.within(ctx, shortWait)
		defer cancel()
		src, err := c.openSource(opening)
		if err != nil {
			return err
		}
		defer src.close()
		return c.tail(ctx, src, only, n, follow)
	})
	return cmd
}

func (c *cli) tail(ctx context.Context, src *source, only filter, n int, follow bool) error {
	q := journal.Query{Unknown: true, Until: src.last}
	if only.actor != "" {
		id, err := src.actor(ctx, only.actor)
		if err != nil {
			return err
		}
		q.Actor = id
	} else if len(only.types) == 0 { // without a filter the last n decisions are the last n sequences
		q.After = src.last - min(uint64(n), src.last)
	}
	var last []messages.Recorded
	err := src.journal.Replay(ctx, q, func(r messages.Recorded) error {
		if only.takes(r) && n > 0 {
			last = append(last[max(0, len(last)+1-n):], r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range last {
		if err := c.printRecorded(r); err != nil {
			return err
		}
	}
	if follow && src.client == nil {
		fmt.Fprintln(c.stderr, "the daemon is not running: there are no new decisions to follow")
	}
	if !follow || src.client == nil {
		return nil
	}
	return src.journal.Follow(ctx, src.last, func(r messages.Recorded) error {
		if !only.takes(r) || q.Actor != (messages.ActorID{}) && r.Actor != q.Actor {
			return nil
		}
		return c.printRecorded(r)
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
func (c *cli) printRecorded(r messages.Recorded) error {
	shown := shownRecord(r)
	if c.asJSON {
		return printJSONLine(c.stdout, shown)
	}
	for _, e := range shown.Events {
		body := string(e.Body)
		if e.Body == nil {
			body = fmt.Sprintf("(version %d, unknown to this build)", e.Version)
		}
		if _, err := fmt.Fprintf(c.stdout, "%d  %s  %s  %s  %s\n", r.Sequence, r.At.Local().Format("2006-01-02 15:04:05.000"), r.Actor, e.Type, body); err != nil {
			return err
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
