package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"modelops/bridges/config"
	"modelops/journal"
	"modelops/messages"
)

func (c *cli) restoreCommand() *cobra.Command {
	var from string
	var again serving
	cmd := &cobra.Command{
		Use: "restore [HOST] --from FILE|DIR|PEER|hub", Args: cobra.MaximumNArgs(1),
		Short: "Bring the journal back from a copy",
		Long: "restore makes the journal of a stopped daemon anew from a copy: a file of `modelops journal export` (- reads it from standard input), or a\n" +
			"directory that holds a copy of a journal or of a whole data directory. Every decision gets its old sequence. The new journal takes the\n" +
			"old one's place only when all of it is on disk and checked; the old one is kept in damaged-TIME beside it. A copy that isn't whole\n" +
			"changes nothing, and neither does one that ends before an intact journal. Without a copy, `modelops journal repair` keeps what can be read.\n\n" +
			"The copy that another host of the cluster keeps is read from that host while it runs: name it with --from, and this host with HOST. It is read over\n" +
			"the cluster port with this host's certificate, or with --server at a NATS address. Of several copies the longest is taken. What the peer heard of\n" +
			"and hadn't copied is lost, and is named. A host that lost its whole disk becomes a member again first, by --join and --token: `modelops cluster\n" +
			"remove HOST` and `modelops cluster invite --host HOST` on the peer. --from hub reads the archive that journal.archive: hub keeps, by nats.hub of the configuration.",
		Example: "  modelops restore --from /backup/main_pc.journal\n  ssh peer cat /backup/main_pc.journal | modelops restore --from -\n  modelops restore main_pc --from pc2\n  modelops restore main_pc --from hub\n  modelops restore main_pc --from pc2 --join 192.168.1.10:7422 --token join1-...",
	}
	cmd.Flags().StringVar(&from, "from", "", "the copy: a file, a directory, or - for standard input")
	cmd.Flags().StringVar(&again.join, "join", "", "address of a member: become a member of its cluster first, by --token")
	cmd.Flags().StringVar(&again.token, "token", "", "token of a member's `modelops cluster invite`, for --join")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		if from == "" {
			return messages.NewError(messages.InvalidArgument, "--from", "it names no copy").WithHint("`modelops journal export FILE` writes a copy; without one, `modelops journal repair` keeps the decisions before the damage")
		}
		p, err := c.ownPlace()
		if err != nil {
			return err
		}
		if again.join+again.token != "" {
			cfg, err := c.loadConfig("")
			if err != nil {
				return err
			}
			if err := c.joinFirst(ctx, cfg, again); err != nil {
				return err
			}
		}
		source, err := c.openSourceOf(ctx, from, p.journal, args)
		if err != nil {
			return err
		}
		defer source.close()
		if own := c.ownHost(source.host); own != source.host {
			return messages.Errorf(messages.FailedPrecondition, from, "the copy is of host %s, this host is called %s", source.host, own).
				WithHint("use a copy of this host, or set host in the configuration")
		}
		bar := c.progress("restoring " + p.journal)
		defer bar.done()
		done, err := journal.Restore(ctx, journal.Options{Dir: p.journal, Host: source.host}, source.read)
		if err != nil {
			return stopFirst(err)
		}
		bar.done()
		if source.told != nil {
			if told := source.told(); told > done.Last {
				done.Lost = &journal.Range{First: done.Last + 1, Last: told}
			}
		}
		return c.printRestored(p.journal, done)
	})
	return cmd
}

// openSourceOf opens what --from names: a file or a directory, or the copy of this host's journal at a peer that runs.
func (c *cli) openSourceOf(ctx context.Context, from, into string, args []string) (copied, error) {
	_, err := os.Stat(from)
	there := from == "-" || err == nil
	if len(args) == 0 || there && (strings.ContainsAny(from, "/.-") || c.named() != "") {
		return c.openCopy(ctx, from, into)
	}
	if from == config.ArchiveHub && c.named() == "" {
		return c.openArchive(ctx, args[0])
	}
	if c.named() == "" {
		peer, err := c.overClusterPort(ctx, from, args[0])
		if there && messages.CodeOf(err) == messages.NotFound { // a member comes before a folder of its name, which may hold anything
			return c.openCopy(ctx, from, into)
		}
		return peer, err
	}
	k, err := c.dial(ctx)
	if err != nil {
		return copied{}, err
	}
	at, err := k.host(ctx)
	if err == nil && at != from {
		err = messages.Errorf(messages.InvalidArgument, "--server", "host %s answers there, not %s", at, from)
	}
	if err != nil {
		k.close()
		return copied{}, err
	}
	return copyAt(args[0], k, k.close), nil
}

// copyAt is the longest copy of a host's journal that another one keeps.
func copyAt(host string, pages journal.Pages, end func()) copied {
	r := journal.NewRemoteCopy(host, journal.LongestCopy, pages)
	read := func(ctx context.Context, fn func(messages.Recorded) error) error {
		return r.Replay(ctx, journal.Query{Unknown: true}, fn)
	}
	return copied{host: host, read: read, told: r.Told, close: end}
}

// overClusterPort opens the copy that a peer keeps with this host's certificate.
func (c *cli) overClusterPort(ctx context.Context, peer, host string) (copied, error) {
	cfg, err := c.loadConfig("")
	if err != nil {
		return copied{}, err
	}
	if pid, held, err := journal.InUse(cfg.Journal.Dir); err == nil && held {
		return copied{}, messages.Errorf(messages.Conflict, cfg.DataDir, "a daemon (pid %d) runs on this data directory", pid).WithHint("stop the daemon first")
	}
	linking, cancel := c.within(ctx, shortWait)
	defer cancel()
	pages, end, err := c.program.AskPeer(linking, cfg, peer)
	if err != nil {
		return copied{}, err
	}
	return copyAt(host, pages, end), nil
}

// copied is a copy of a journal that can be read.
type copied struct {
	host  string
	read  func(ctx context.Context, fn func(messages.Recorded) error) error
	close func()
	told  func() uint64 // after the reading: the last sequence that a peer heard of; nil = no peer has told
}

// openCopy opens a file or a directory; into is the journal that it is for.
func (c *cli) openCopy(ctx context.Context, from, into string) (copied, error) {
	if from == "-" {
		return fileCopy("standard input", c.stdin, func() {})
	}
	info, err := os.Stat(from)
	if err != nil {
		return copied{}, messages.Errorf(messages.NotFound, from, "there is no such copy: %w", err)
	}
	if !info.IsDir() {
		f, err := os.Open(from)
		if err != nil {
			return copied{}, messages.Errorf(messages.Unavailable, from, "the copy can't be read: %w", err)
		}
		return fileCopy(from, f, func() { _ = f.Close() })
	}
	if kept, host, err := journal.PeerCopyIn(ctx, from); err != nil || kept != nil {
		read := func(ctx context.Context, fn func(messages.Recorded) error) error {
			return kept.Replay(ctx, journal.Query{Unknown: true}, fn)
		}
		return copied{host: host, read: read, told: kept.Told, close: func() {}}, err
	}
	dir := journalWithin(from)
	if a, err := os.Stat(dir); err == nil {
		if b, err := os.Stat(into); err == nil && os.SameFile(a, b) {
			return copied{}, messages.NewError(messages.InvalidArgument, from, "this is the journal itself").WithHint("`modelops journal repair` keeps the decisions before the damage")
		}
	}
	host, err := journal.HostOf(ctx, dir)
	if err == nil && host == "" {
		err = messages.NewError(messages.NotFound, dir, "it holds no decisions")
	}
	read := func(ctx context.Context, fn func(messages.Recorded) error) error {
		return journal.ReadStore(ctx, dir, fn)
	}
	return copied{host: host, read: read, close: func() {}}, err
}

func fileCopy(name string, r io.Reader, close func()) (copied, error) {
	in, err := journal.OpenCopy(name, r)
	if err != nil {
		close()
		return copied{}, err
	}
	return copied{host: in.Host, read: in.Read, close: close}, nil
}

// ownHost is this host's name by its configuration, or another when there is no configuration that can be read.
func (c *cli) ownHost(otherwise string) string {
	at, ok := config.PlaceOf(c.configFile(), c.environment())
	if !ok {
		return otherwise
	}
	return at.Host
}

func (c *cli) journalRepairCommand() *cobra.Command {
	return &cobra.Command{
		Use: "repair [DIR]", Args: cobra.MaximumNArgs(1),
		Short: "Keep the decisions before the damage",
		Long: "repair copies every decision before the first one that is missing or unreadable into a new journal, puts it in the place of the damaged\n" +
			"one, and says which sequences are lost. The damaged journal is kept in damaged-TIME beside it, with every byte as it is. If there is a\n" +
			"copy of the journal, `modelops restore` brings back more. DIR is the journal directory or the data directory that contains it; no daemon\n" +
			"may run.",
		RunE: act(func(ctx context.Context, args []string) error {
			dir, err := c.journalDir(args)
			if err != nil {
				return err
			}
			bar := c.progress("repairing " + dir)
			defer bar.done()
			done, err := journal.Repair(ctx, journal.Options{Dir: dir, Host: c.ownHost("unknown")})
			if err != nil {
				return stopFirst(err)
			}
			bar.done()
			return c.printRestored(dir, done)
		}),
	}
}

func stopFirst(err error) error {
	if messages.CodeOf(err) == messages.Conflict {
		return messages.AsError(err).WithHint("stop the daemon first")
	}
	return err
}

func (c *cli) printRestored(dir string, r journal.Restored) error {
	if c.asJSON {
		return printJSON(c.stdout, r)
	}
	if r.Cause != "" {
		fmt.Fprintf(c.stdout, "damage: %s\n", r.Cause)
	}
	switch {
	case r.Lost == nil:
		fmt.Fprintf(c.stdout, "%s holds sequences 1 to %d; nothing is lost\n", dir, r.Last)
	case r.Last == 0:
		fmt.Fprintf(c.stdout, "%s is empty; sequences %d to %d are lost\n", dir, r.Lost.First, r.Lost.Last)
	default:
		fmt.Fprintf(c.stdout, "%s holds sequences 1 to %d; sequences %d to %d are lost\n", dir, r.Last, r.Lost.First, r.Lost.Last)
	}
	if r.Kept != "" {
		fmt.Fprintf(c.stdout, "the journal that was there is kept in %s\n", r.Kept)
	}
	return nil
}

func (c *cli) journalExportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "export FILE", Args: cobra.ExactArgs(1),
		Short: "Write a copy of the journal to a file",
		Long: "export writes every decision up to now to one file (- is standard output), from which `modelops restore` makes the journal anew. It reads\n" +
			"the journal of the running daemon; with --data-dir, that of a stopped one. FILE appears only when the copy is whole.",
		Example: "  modelops journal export /backup/main_pc.journal",
		RunE: act(func(ctx context.Context, args []string) error {
			opening, cancel := c.within(ctx, shortWait)
			defer cancel()
			src, err := c.openSource(opening)
			if err != nil {
				return err
			}
			defer src.close()
			return c.export(ctx, src, args[0])
		}),
	}
}

func (c *cli) export(ctx context.Context, src *source, file string) error {
	read := func(ctx context.Context, fn func(messages.Recorded) error) error {
		return src.journal.Replay(ctx, journal.Query{Unknown: true, Until: src.last}, fn)
	}
	if file == "-" {
		_, err := journal.WriteCopy(ctx, c.stdout, src.host, read)
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return messages.Errorf(messages.InvalidArgument, file, "the copy can't be written: %w", err)
	}
	defer os.Remove(next.Name())
	n, err := journal.WriteCopy(ctx, next, src.host, read)
	if full := errors.Join(next.Sync(), next.Close()); err == nil && full != nil {
		err = messages.Errorf(messages.Unavailable, file, "the copy can't be written: %w", full)
	}
	if err == nil {
		err = os.Rename(next.Name(), file)
	}
	if err == nil && !c.asJSON {
		fmt.Fprintf(c.stdout, "%s holds %d decisions of host %s\n", file, n, src.host)
	} else if err == nil {
		err = printJSON(c.stdout, map[string]any{"file": file, "decisions": n, "host": src.host})
	}
	return err
}

// journalWithin is the journal in a data directory, or the directory itself.
func journalWithin(dir string) string {
	inside := filepath.Join(dir, "journal")
	if st, err := os.Stat(inside); err == nil && st.IsDir() {
		return inside
	}
	return dir
}
