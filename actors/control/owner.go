package control

import (
	"context"
	"slices"
	"strings"

	"modelops/messages"
)

// owner is the host whose model an operation is about: the one that the caller names, else the one on which the model is loaded, else this one when
// it declares the model, else the only one that does.
func (c *Control) owner(ctx context.Context, host, name string) (string, error) {
	switch {
	case host == "" && (c.o.Hosts == nil || messages.PeerFrom(ctx) != ""), host == c.o.Host:
		return c.o.Host, nil
	case host == "":
		return c.holder(c.canonical(name))
	case c.isElsewhere(ctx, host):
		return host, nil
	}
	return "", messages.NoMember(host)
}

// holder finds the host that has a model. What a host that can't be reached said last doesn't count beside others.
func (c *Control) holder(name string) (string, error) {
	var declared, loaded []string
	for _, v := range c.o.View.Models() {
		id, err := messages.ParseActorID(v.Id)
		if err != nil || v.Name != name || v.Spec == nil {
			continue
		}
		declared = append(declared, id.Host())
		if resident(v) && (id.Host() == c.o.Host || c.o.Hosts.Reached(id.Host())) {
			loaded = append(loaded, id.Host())
		}
	}
	switch {
	case len(loaded) == 1:
		return loaded[0], nil
	case len(loaded) > 1:
		return "", several(name, "is loaded", loaded)
	case len(declared) == 0 || slices.Contains(declared, c.o.Host):
		return c.o.Host, nil
	case len(declared) == 1:
		return declared[0], nil
	}
	return "", several(name, "is declared", declared)
}

func several(name, is string, hosts []string) *messages.Error {
	return messages.Errorf(messages.FailedPrecondition, name, "it %s on %s", is, strings.Join(hosts, " and ")).WithHint("name one of them with --host, or in the field host")
}

// isDeclared tells whether any host declares a model.
func (c *Control) isDeclared(name string) bool {
	return c.o.Hosts != nil && slices.ContainsFunc(c.o.View.Models(), func(v *messages.ModelView) bool { return v.Name == name && v.Spec != nil })
}
