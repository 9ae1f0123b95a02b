package control

import (
	"cmp"
	"context"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// Keys are the API keys of the host. Errors are typed.
type Keys interface {
	Add(messages.NewKey) (key string, info *messages.KeyInfo, err error)
	List() []*messages.KeyInfo
	Revoke(name string) (*messages.KeyInfo, error)
	// Classes are those that a key may have.
	Classes() []string
}

// AddKey makes an API key and shows it, this once.
func (c *Control) AddKey(ctx context.Context, r *messages.AddKeyRequest) (*messages.AddKeyReply, error) {
	n := messages.NewKey{Name: r.Name, Class: r.Class, Models: r.Models, Operations: r.Operations}
	role, known := messages.ParseRole(cmp.Or(r.Role, messages.RoleName(messages.Role_INFER)))
	n.Role = role
	until, err := messages.ParseEnd(r.Expires)
	n.Expires = until
	switch {
	case !messages.PlainName.MatchString(r.Name):
		return nil, invalid("name", "it can't name a caller", messages.GoodPlainName)
	case !known:
		return nil, messages.Errorf(messages.InvalidArgument, "role", "%.100q is no role", r.Role).WithHint("infer, read, operate or admin")
	case err != nil:
		return nil, messages.Errorf(messages.InvalidArgument, "expires", "%.100q is no time", r.Expires).WithHint("a date such as 2026-12-31, or a time such as 2026-12-31T12:00:00Z")
	case !until.IsZero() && !until.After(time.Now()):
		return nil, messages.Errorf(messages.InvalidArgument, "expires", "%s is over already", r.Expires).WithHint("leave it out for a key that doesn't end")
	case r.Class != "" && !contains(c.o.Keys.Classes(), r.Class):
		return nil, messages.Errorf(messages.InvalidArgument, "class", "%.100q is no class", r.Class).WithHint("queue.classes lists them")
	case contains(r.Models, ""):
		return nil, invalid("models", "an entry is empty", "name models or patterns such as org/*, or leave the list out for all")
	}
	for _, name := range r.Operations {
		if err := messages.CheckOperation(name); err != nil {
			return nil, err
		}
	}
	if by := messages.CallerFrom(ctx).Principal; by.Scope != nil {
		return nil, messages.NewError(messages.PermissionDenied, "AddKey", "a key with a scope can't make keys: they could do more than it").WithHint("use the operator's key")
	}
	key, info, err := c.o.Keys.Add(n)
	if err != nil {
		return nil, err
	}
	return &messages.AddKeyReply{Info: info, Key: key}, nil
}

// ListKeys shows the API keys by their fingerprints.
func (c *Control) ListKeys(context.Context, *emptypb.Empty) (*messages.KeyList, error) {
	return &messages.KeyList{Keys: c.o.Keys.List()}, nil
}

// RevokeKey ends an API key, by its name or its fingerprint.
func (c *Control) RevokeKey(_ context.Context, r *messages.RevokeKeyRequest) (*messages.KeyInfo, error) {
	if r.Name == "" {
		return nil, invalid("name", "it is empty", "modelops keys ls lists the keys")
	}
	return c.o.Keys.Revoke(r.Name)
}
