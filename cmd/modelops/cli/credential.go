package cli

import (
	"net/netip"
	"net/url"
	"os"

	"github.com/nats-io/nats.go"

	"modelops/bridges/config"
	"modelops/journal"
	"modelops/messages"
)

// apiKeyVariable holds a caller's own key.
const apiKeyVariable = "MODELOPS_API_KEY"

// credential is how a connection proves who it is.
type credential struct {
	option nats.Option // nil = there is none
	lacks  error       // why it isn't the operator's; nil when it is
	own    bool        // it is the key of apiKeyVariable, or in the address
}

// credentialFor chooses the credential for a daemon: the operator's of the data directory, else the caller's own key. The operator's is only
// for a daemon on this machine, and for the address that the daemon of the data directory wrote.
func (c *cli) credentialFor(address string) credential {
	u, err := url.Parse(address)
	if err == nil && u.User != nil {
		return credential{own: true}
	}
	operator, err := c.operator(address, u)
	if err == nil {
		var signed nats.Option
		if signed, err = journal.Signed(operator.Key()); err == nil {
			return credential{option: signed}
		}
	}
	if key := os.Getenv(apiKeyVariable); key != "" {
		return credential{option: nats.Token(key), lacks: err, own: true}
	}
	return credential{lacks: err}
}

func (c *cli) operator(address string, u *url.URL) (config.Operator, error) {
	p, err := c.findPlace()
	if p.dataDir == "" {
		return config.Operator{}, err
	}
	if (u == nil || !onThisMachine(u.Hostname())) && (p.daemon == nil || p.daemon.NATS != address) {
		return config.Operator{}, messages.Errorf(messages.NotFound, withoutPassword(address), "the operator's credential of %s is for the daemon of this machine", p.dataDir)
	}
	return config.ReadOperator(p.dataDir)
}

func onThisMachine(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// refused is the error of a connection that the daemon didn't let in.
func (k credential) refused(address string, cause error) *messages.Error {
	e := messages.Errorf(messages.Unauthenticated, withoutPassword(address), "the daemon doesn't know this key: %w", cause)
	switch {
	case k.own:
		return e.WithHint("check " + apiKeyVariable + ", or unset it and run the command as the user that runs the daemon")
	case k.lacks == nil:
		return e.WithHint("the operator's credential of another data directory was sent: name the daemon's own with --data-dir, or set " + apiKeyVariable)
	}
	lacks := messages.AsError(k.lacks)
	e.Message = "the daemon lets nobody in without a key: " + lacks.Subject + ": " + lacks.Message
	if lacks.Code == messages.NotFound || lacks.Hint == "" {
		return e.WithHint("name the daemon's data directory with --data-dir, or set " + apiKeyVariable + " to a key of your own")
	}
	return e.WithHint(lacks.Hint)
}

// denied is the error of a request that the daemon's NATS server didn't let through.
func denied(address string, cause error) *messages.Error {
	return messages.Errorf(messages.PermissionDenied, withoutPassword(address), "the key doesn't allow this: %w", cause).
		WithHint("use a key whose role and operations allow it, or run the command as the user that runs the daemon")
}
