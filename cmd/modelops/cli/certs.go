package cli

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/bridges/certs"
	"modelops/messages"
)

func (c *cli) certsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "certs", Args: cobra.NoArgs,
		Short: "Make and show this host's certificates",
		Long: "certs keeps a small CA in data_dir/certs. With `server.tls: {auto: true}` the daemon issues its own certificate from it and renews it; clients need only the\n" +
			"CA, which `certs show` prints. The keys are readable by their owner alone.",
		Example: "  modelops certs init\n  modelops certs issue gpu2 --san gpu2.lan --san 10.0.0.5\n  modelops certs issue laptop --client\n  modelops certs show --pem > ca.crt",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.certsInit(), c.certsIssue(), c.certsShow())
	return cmd
}

// certsPlace is the folder of the certificates, and the name of the host.
func (c *cli) certsPlace() (dir, host string, err error) {
	p, err := c.ownPlace()
	if err != nil {
		return "", "", err
	}
	host, _ = os.Hostname()
	return certs.Dir(p.dataDir), cmp.Or(host, "this host"), nil
}

func (c *cli) certsInit() *cobra.Command {
	return &cobra.Command{
		Use: "init", Args: cobra.NoArgs, Short: "Make this host's CA, if there is none",
		RunE: func(*cobra.Command, []string) error {
			dir, host, err := c.certsPlace()
			if err != nil {
				return typed(err)
			}
			_, made, err := certs.Init(dir, host, c.now())
			if err != nil {
				return typed(err)
			}
			what := "is there already"
			if made {
				what = "is made"
			}
			c.say("the CA %s: give %s to clients, and set server.tls: {auto: true}", what, certs.CAFile(dir))
			return nil
		},
	}
}

func (c *cli) certsIssue() *cobra.Command {
	var sans []string
	var client bool
	var days int
	cmd := &cobra.Command{
		Use: "issue NAME", Args: cobra.ExactArgs(1), Short: "Issue a certificate for a host or a client",
		RunE: func(_ *cobra.Command, args []string) error {
			dir, _, err := c.certsPlace()
			if err != nil {
				return typed(err)
			}
			if days < 1 || days > 3650 {
				return typed(messages.Errorf(messages.InvalidArgument, "--days", "%d can't be", days).WithHint("from 1 to 3650"))
			}
			a, err := certs.Open(dir)
			if err != nil {
				return typed(err)
			}
			if len(sans) == 0 && !client {
				sans = []string{args[0]}
			}
			cert, key, err := a.Issue(certs.Request{Name: args[0], SANs: sans, Client: client, Life: time.Duration(days) * 24 * time.Hour}, c.now())
			if err != nil {
				return typed(err)
			}
			c.say("certificate %s\nkey         %s\nCA          %s", cert, key, certs.CAFile(dir))
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&sans, "san", nil, "DNS name or address of the host, as often as it has some (default: NAME)")
	cmd.Flags().BoolVar(&client, "client", false, "for a client that shows it, where server.tls.client_ca asks for one")
	cmd.Flags().IntVar(&days, "days", 397, "how long it lasts")
	return cmd
}

func (c *cli) certsShow() *cobra.Command {
	var onlyPEM bool
	cmd := &cobra.Command{
		Use: "show", Args: cobra.NoArgs, Short: "Show the certificates, and the CA to give to clients",
		RunE: func(*cobra.Command, []string) error {
			dir, _, err := c.certsPlace()
			if err != nil {
				return typed(err)
			}
			all, err := certs.List(dir)
			if err != nil {
				return typed(err)
			}
			ca, err := os.ReadFile(certs.CAFile(dir))
			if err != nil {
				return typed(err)
			}
			switch {
			case onlyPEM:
				_, err = c.stdout.Write(ca)
			case c.asJSON:
				err = printJSON(c.stdout, struct {
					CA           string        `json:"ca"`
					Certificates []certs.Entry `json:"certificates"`
				}{string(ca), all})
			default:
				c.sayCertificates(all, string(ca))
			}
			return typed(err)
		},
	}
	cmd.Flags().BoolVar(&onlyPEM, "pem", false, "print only the CA, for a file that clients trust")
	return cmd
}

func (c *cli) sayCertificates(all []certs.Entry, ca string) {
	for _, e := range all {
		left := fmt.Sprintf("%d days left", int(e.NotAfter.Sub(c.now()).Hours()/24))
		if e.NotAfter.Before(c.now()) {
			left = "EXPIRED"
		}
		c.say("%-6s  %-12s  until %s (%s)", e.Kind, e.Name, e.NotAfter.Format(time.DateOnly), left)
		if len(e.Names) > 0 {
			c.say("        names   %s", strings.Join(e.Names, " "))
		}
		c.say("        sha256  %s\n        file    %s", e.Fingerprint, e.File)
	}
	c.say("\nClients trust this CA (%s):\n%s", all[0].File, ca)
}
