package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"modelops/bridges/certs"
	"modelops/bridges/certs/join"
	"modelops/bridges/config"
	"modelops/journal"
	"modelops/messages"
)

func (c *cli) clusterInitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "init", Args: cobra.NoArgs,
		Short: "Make this host the first of a cluster",
		Long: "init makes the cluster's CA and this host's certificate in data_dir/cluster. A daemon that runs is started again, as by `modelops upgrade`, and keeps\n" +
			"its models: from then on it listens for other hosts. A cluster that is there already is kept.",
		RunE: act(func(ctx context.Context, _ []string) error { return c.clusterInit(ctx) }),
	}
}

func (c *cli) clusterInit(ctx context.Context) error {
	cfg, err := c.loadConfig("")
	if err != nil {
		return err
	}
	if cfg.Cluster.Cert != "" {
		return ownCertificates()
	}
	made, err := join.Init(cfg.DataDir, cfg.Host, c.now())
	if err != nil {
		return err
	}
	what := "is a member of a cluster already"
	if made {
		what = "is the first of a cluster now"
	}
	c.say("%s %s: its certificate, and the cluster's CA, are in %s", cfg.Host, what, certs.ClusterDir(cfg.DataDir))
	if _, runs, err := journal.InUse(cfg.Journal.Dir); err != nil || !runs {
		c.say("start it with `modelops serve`; `modelops cluster invite` then prints the command for the other host")
		return nil
	}
	if made { // the running daemon has opened nothing for other hosts
		place, err := c.findPlace()
		if err == nil {
			err = c.upgrade(ctx, place)
		}
		if err != nil {
			return messages.Errorf(messages.CodeOf(err), cfg.DataDir, "the cluster is made, and the daemon doesn't listen for other hosts before it has started again: %w", err).WithHint("modelops upgrade starts it again and keeps its models")
		}
	}
	c.say("`modelops cluster invite` prints the command for the other host")
	return nil
}

// joinFirst makes this host a member when serve is told to. One that is a member by the same token is left as it is.
func (c *cli) joinFirst(ctx context.Context, cfg *config.Config, o serving) error {
	switch {
	case o.token == "" && o.join == "":
		return nil
	case o.token == "":
		return messages.NewError(messages.InvalidArgument, "--join", "the token of an invitation is missing: --token TOKEN").WithHint("modelops cluster invite on a member prints the whole command")
	case cfg.Cluster.Cert != "":
		return ownCertificates()
	}
	g := join.GuestOptions{DataDir: cfg.DataDir, Host: cfg.Host, Join: o.join, Token: o.token, Advertise: cfg.Advertised(fmt.Sprint(cfg.Cluster.Port)), Port: cfg.Cluster.Port, Version: c.program.Version, Now: c.now,
		Free: func() error {
			if pid, held, err := journal.InUse(cfg.Journal.Dir); err != nil || held {
				return messages.Errorf(messages.Conflict, cfg.DataDir, "a daemon (pid %d) runs on this data directory", pid).WithHint("stop it first, and then join")
			}
			return nil
		}}
	joined, err := join.Join(ctx, g)
	if err == nil && joined {
		c.say("%s has joined the cluster", cfg.Host)
	}
	return err
}

func ownCertificates() error {
	return messages.NewError(messages.FailedPrecondition, "cluster.cert", "the configuration names certificates of your own: hosts join by them, and not by tokens").
		WithHint("declare the hosts in cluster.peers, or remove cluster.ca, cluster.cert and cluster.key")
}
