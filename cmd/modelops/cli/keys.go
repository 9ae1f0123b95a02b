package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) keysCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Make, list or revoke API keys", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Long: "keys makes, lists and revokes API keys while the daemon runs; add works without it too. It needs the role admin, which the operator's key has: data_dir/operator.key.\n" +
			"The configuration may hold keys too; they are listed, and end there."}
	list := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Args: cobra.NoArgs,
		Short: "List the API keys",
		Long:  "ls lists the keys by their names and fingerprints. The keys themselves aren't stored. The last use is exact to a minute.",
	}
	var all bool
	list.Flags().BoolVar(&all, "all", false, "list revoked keys too")
	list.RunE = c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error {
		keys, err := k.ListKeys(ctx, nil)
		if err != nil {
			return err
		}
		if !all {
			keys.Keys = unrevoked(keys.Keys)
		}
		return show(c, keys, func(l *messages.KeyList) error { return c.printKeys(l.Keys) })
	})
	cmd.AddCommand(c.addKeyCommand(), list, &cobra.Command{
		Use: "revoke NAME", Args: cobra.ExactArgs(1),
		Short: "End an API key at once",
		Long:  "revoke ends a key by its name or fingerprint. It is refused at once, on connections that are open too. Requests that run finish.",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			i, err := k.RevokeKey(ctx, &messages.RevokeKeyRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return show(c, i, func(i *messages.KeyInfo) error {
				_, err := fmt.Fprintf(c.stdout, "the key %s (%s) is revoked\n", i.Name, i.Fingerprint)
				return err
			})
		}),
	})
	return cmd
}

func (c *cli) addKeyCommand() *cobra.Command {
	q, ends := &messages.AddKeyRequest{}, ""
	cmd := &cobra.Command{
		Use: "add NAME", Args: cobra.ExactArgs(1),
		Short: "Make an API key and print it, this once",
		Long: "add makes a key for a caller and prints it. It is stored hashed and can't be printed again. It is accepted at once, at every door:\n" +
			"HTTP and gRPC take it as `Authorization: Bearer KEY`, NATS as the token or the password of a connection.",
		Example: "  modelops keys add alice\n  modelops keys add team --model 'org/*' --expires 30d\n  modelops keys add night --role operate --operation LoadModel --operation UnloadModel --class batch",
	}
	f := cmd.Flags()
	f.StringVar(&q.Role, "role", "infer", "what the caller may do: infer, read, operate or admin; each includes those before it")
	f.StringArrayVar(&q.Models, "model", nil, "a model that it may use, or a pattern such as org/*; several times (default: all)")
	f.StringArrayVar(&q.Operations, "operation", nil, "an operation that it may run, by its name in docs/api.md; several times (default: all of the role)")
	f.StringVar(&q.Class, "class", "", "priority class of its requests (default: queue.default_class)")
	f.StringVar(&ends, "expires", "", "when it ends: a duration such as 720h or 30d, a date, or a time of RFC 3339 (default: never)")
	cmd.RunE = act(func(ctx context.Context, args []string) (err error) {
		q.Name = args[0]
		if q.Expires, err = endOf(ends, c.now()); err != nil {
			return err
		}
		var made *messages.AddKeyReply
		err = c.asked(ctx, shortWait, func(ctx context.Context, k *client) (err error) {
			made, err = k.AddKey(ctx, q)
			return err
		})
		if err != nil {
			made, err = c.addKeyToFiles(ctx, q, err)
		}
		if err != nil {
			return err
		}
		if c.asJSON {
			return show(c, made, func(*messages.AddKeyReply) error { return nil })
		}
		fmt.Fprintf(c.stderr, "the key of %s; it can't be shown again:\n", made.Info.Name)
		_, err = fmt.Fprintln(c.stdout, made.Key)
		return err
	})
	return cmd
}

// endOf turns a duration into the time at which it is over, and leaves dates and times to the daemon.
func endOf(text string, now time.Time) (string, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		var n int
		if n, err = strconv.Atoi(days); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	switch {
	case err != nil: // no duration
		return text, nil
	case d <= 0:
		return "", messages.Errorf(messages.InvalidArgument, "--expires", "%s is over already", text).WithHint("leave it out for a key that doesn't end")
	}
	return now.Add(d).UTC().Format(time.RFC3339), nil
}

func unrevoked(keys []*messages.KeyInfo) (out []*messages.KeyInfo) {
	for _, k := range keys {
		if k.State != "revoked" {
			out = append(out, k)
		}
	}
	return out
}

func (c *cli) printKeys(keys []*messages.KeyInfo) error {
	if len(keys) == 0 {
		fmt.Fprintln(c.stdout, "there are no keys; `modelops keys add NAME` makes one")
		return nil
	}
	t := table{columns: []string{"NAME", "FINGERPRINT", "ROLE", "MODELS", "OPERATIONS", "CLASS", "STATE", "EXPIRES", "LAST USE", "FROM"}}
	for _, k := range keys {
		t.add(k.Name, k.Fingerprint, k.Role, someOf(k.Models), someOf(k.Operations), cmp.Or(k.Class, "-"), k.State, dayOf(k.ExpiresMs, "never"), dayOf(k.LastUsedMs, "-"), k.Source)
	}
	return t.print(c.stdout)
}

func someOf(list []string) string { return cmp.Or(strings.Join(list, ","), "all") }

func dayOf(ms int64, none string) string {
	if ms == 0 {
		return none
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04Z")
}
