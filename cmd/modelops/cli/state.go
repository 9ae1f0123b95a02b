package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"modelops/journal"
	"modelops/messages"
)

// moment is a sequence of the journal or a time; the zero value is now.
type moment struct {
	sequence uint64
	time     time.Time
}

func (m moment) past() bool { return m.sequence > 0 || !m.time.IsZero() }

// parseMoment reads a sequence, a time (RFC 3339, or local time without a zone), or a duration before now.
func parseMoment(text string, now time.Time) (moment, error) {
	if text == "" {
		return moment{}, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > 0 {
		return moment{sequence: n}, nil
	} else if d, err := time.ParseDuration(strings.TrimSuffix(text, " ago")); err == nil && d > 0 {
		return moment{time: now.Add(-d)}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return moment{time: t}, nil
		}
	}
	return moment{}, messages.Errorf(messages.InvalidArgument, "--at", "%q is neither a sequence nor a time", text).
		WithHint("give a journal sequence such as 42, a time such as 2026-01-31T15:04:05Z, or a duration before now such as 10m")
}

func (c *cli) stateCommand() *cobra.Command {
	var at, host string
	var view bool
	cmd := &cobra.Command{
		Use: "state KIND/ID", Args: cobra.ExactArgs(1),
		Short: "Show an actor's state, now or at an earlier moment",
		Long: "state shows the state of an actor and the work it owes. With --at the state of that moment is folded from the journal.\n" +
			"Each host of a cluster has an arbiter: the one that places models answers, and with --at that of the journal which is read, of this host or of --host.",
		Example:           "  modelops state model/tiny\n  modelops state gpu/main_pc/cpu --at 42\n  modelops state arbiter --at 10m",
		ValidArgsFunction: c.completeActors(),
	}
	cmd.Flags().StringVar(&at, "at", "", "a journal sequence, a time (RFC 3339), or a duration before now (10m)")
	cmd.Flags().StringVar(&host, "host", "", "read the journal of this host, or the copy that is kept of it")
	cmd.Flags().BoolVar(&view, "view", false, "print its view, which other actors see, instead of its whole state")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		when, err := parseMoment(at, c.now())
		if err != nil {
			return err
		}
		ctx, cancel := c.within(ctx, longWait)
		defer cancel()
		s, err := c.stateAt(ctx, args[0], host, when)
		if err != nil {
			return err
		}
		return c.printState(s, view)
	})
	return cmd
}

// stateShown is an actor at a moment.
type stateShown struct {
	Actor    string          `json:"actor"`
	Host     string          `json:"host"` // whose it is: each host of a cluster has an arbiter, and one of them places
	Sequence uint64          `json:"sequence"`
	At       *time.Time      `json:"at,omitempty"` // time of its last decision; only when folded from the journal
	State    json.RawMessage `json:"state"`
	View     json.RawMessage `json:"view"`
	Owed     []string        `json:"owed,omitempty"`
}

// stateAt asks the live actor, or folds the state from the journal.
func (c *cli) stateAt(ctx context.Context, name, host string, when moment) (stateShown, error) {
	if host == "" && !when.past() && c.dataDir == "" {
		k, err := c.dial(ctx)
		if err != nil {
			return stateShown{}, err
		}
		defer k.close()
		return liveState(ctx, k, name)
	}
	src, err := c.openSourceOfHost(ctx, host)
	if err != nil {
		return stateShown{}, err
	}
	defer src.close()
	if !when.past() && src.client != nil && !src.copy {
		return liveState(ctx, src.client, name)
	}
	var copies []*source
	if host == "" {
		copies = c.copies(ctx, src)
	}
	return foldedState(ctx, src, copies, name, when)
}

func liveState(ctx context.Context, k *client, name string) (stateShown, error) {
	r, err := k.GetState(ctx, &messages.StateRequest{Actor: name})
	if err != nil {
		return stateShown{}, err
	}
	id, err := messages.ParseActorID(r.Actor)
	if err != nil {
		return stateShown{}, err
	}
	host, err := whose(ctx, k, id, r.ViewJson)
	if err != nil {
		return stateShown{}, err
	}
	return stateShown{Actor: r.Actor, Host: host, Sequence: r.Sequence, State: json.RawMessage(r.StateJson), View: rewritten(id, r.ViewJson), Owed: r.Owed}, nil
}

// whose is the host of a live actor. The arbiter that answers is the one that places, and says whose it is once it has taken over.
func whose(ctx context.Context, k *client, id messages.ActorID, view string) (string, error) {
	if host := id.Host(); host != "" {
		return host, nil
	}
	var v messages.ArbiterView
	if readReply([]byte(view), &v) == nil && v.Host != "" {
		return v.Host, nil
	}
	return k.host(ctx)
}

// rewritten writes a live view in the form of a folded one.
func rewritten(id messages.ActorID, view string) json.RawMessage {
	var m proto.Message = &messages.StatusView{}
	if f, err := newFold(id); err == nil {
		m = f.view()
	}
	proto.Reset(m)
	if readReply([]byte(view), m) != nil {
		return json.RawMessage(view)
	}
	return compact(m)
}

// foldedState folds the journal of src, or the copy of another host's when the name is of an actor there.
func foldedState(ctx context.Context, src *source, copies []*source, name string, when moment) (stateShown, error) {
	id, err := src.actor(ctx, name, copies...)
	if err != nil {
		return stateShown{}, err
	}
	if other := copyOf(id.Host(), copies); other != nil {
		src = other
	}
	f, err := newFold(id)
	if err != nil {
		return stateShown{}, err
	}
	var at time.Time
	err = src.journal.Replay(ctx, journal.Query{Actor: id, Until: when.sequence, UntilTime: when.time}, func(r messages.Recorded) error {
		at = r.At
		f.apply(r)
		return nil
	})
	if err != nil {
		return stateShown{}, err
	}
	if f.sequence() == 0 {
		return stateShown{}, messages.NewError(messages.NotFound, id.String(), "the journal has no decision of it up to then").
			WithHint("`modelops journal tail -n 100` shows the latest decisions")
	}
	s := stateShown{Actor: id.String(), Host: cmp.Or(id.Host(), src.host), Sequence: f.sequence(), At: &at, View: compact(f.view())}
	s.State, err = f.stateJSON()
	return s, err
}

func (c *cli) printState(s stateShown, view bool) error {
	if c.asJSON {
		return printJSON(c.stdout, s)
	}
	name := s.Actor
	if !strings.Contains(name, "/") { // the others are named by their host
		name += " of " + s.Host
	}
	fmt.Fprintf(c.stdout, "%s at sequence %d", name, s.Sequence)
	if s.At != nil {
		fmt.Fprintf(c.stdout, ", decided %s", s.At.Local().Format(time.RFC3339))
	}
	fmt.Fprintln(c.stdout)
	if len(s.Owed) > 0 {
		fmt.Fprintln(c.stdout, "owes "+strings.Join(s.Owed, ", "))
	}
	if view {
		return printRaw(c.stdout, s.View)
	}
	return printRaw(c.stdout, s.State)
}
