package cli

import (
	"context"
	"os"
	"syscall"

	"modelops/actors/control"
	"modelops/bridges/access"
	"modelops/messages"
)

// addKeyToFiles makes a key of a host whose daemon doesn't run: it may be waiting for its first key before it listens to other machines. why is the
// error of the daemon that can't be reached; it stays the answer where a daemon may be running, which would write its own keys over this one.
func (c *cli) addKeyToFiles(ctx context.Context, q *messages.AddKeyRequest, why error) (*messages.AddKeyReply, error) {
	if messages.CodeOf(why) != messages.Unavailable || c.named() != "" {
		return nil, why
	}
	p, err := c.ownPlace()
	if err != nil {
		return nil, err
	}
	if p.daemon != nil && syscall.Kill(p.daemon.PID, 0) != syscall.ESRCH {
		return nil, why
	}
	if err := os.MkdirAll(p.dataDir, 0o755); err != nil {
		return nil, messages.Errorf(messages.FailedPrecondition, p.dataDir, "the data directory can't be made: %w", err).WithHint("set data_dir to a directory that this user may write")
	}
	store, err := access.OpenStore(p.dataDir, c.now, func(string) {})
	if err != nil {
		return nil, err
	}
	guard := access.New(access.Options{Operator: func(string) (messages.Principal, bool) { return messages.Principal{}, false }, OperatorName: "operator", Store: store, Now: c.now})
	rules := access.Rules{}
	if cfg, err := c.loadConfig(""); err == nil { // else the daemon would refuse the class and the name's twin itself
		rules.Classes = cfg.Queue.Classes
		rules.Keys = map[access.Sum]messages.Principal{}
		for _, k := range cfg.Keys {
			if sum, ok := access.SumOf(k.SHA256); ok {
				rules.Keys[sum] = k.Principal()
			}
		}
	}
	guard.Follow(rules)
	return control.New(control.Options{Keys: guard}).AddKey(ctx, q)
}
