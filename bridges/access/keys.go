package access

import (
	"slices"
	"strings"

	"modelops/messages"
)

const inConfiguration = "configuration"

// Add makes a key and shows it, this once. Its name is nobody else's.
func (g *Guard) Add(n messages.NewKey) (string, *messages.KeyInfo, error) {
	if g.configured(n.Name) != nil {
		return "", nil, messages.Errorf(messages.Conflict, "key "+n.Name, "the configuration or the host itself has a caller of that name").WithHint("choose another name")
	}
	return g.o.Store.Add(n)
}

// List shows all keys by name: those of the configuration and the added ones.
func (g *Guard) List() []*messages.KeyInfo {
	out := g.o.Store.List()
	for _, p := range g.rules.Load().Keys {
		i := infoOf(p, g.o.Now())
		i.Source = inConfiguration
		out = append(out, i)
	}
	slices.SortStableFunc(out, func(a, b *messages.KeyInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Revoke ends an added key. One of the configuration ends there.
func (g *Guard) Revoke(name string) (*messages.KeyInfo, error) {
	info, err := g.o.Store.Revoke(name)
	if p := g.configured(name); p != nil && messages.CodeOf(err) == messages.NotFound {
		return nil, messages.Errorf(messages.FailedPrecondition, "key "+name, "it stands in the configuration, which would bring it back").
			WithHint("take it out of keys in cluster.yaml, and run modelops config apply")
	}
	return info, err
}

// Classes are the priority classes.
func (g *Guard) Classes() []string { return g.rules.Load().Classes }

// configured is the caller of the configuration, or the operator, by name or fingerprint; nil when there is none.
func (g *Guard) configured(name string) *messages.Principal {
	for _, p := range g.rules.Load().Keys {
		if p.Name == name || p.Fingerprint == name {
			return &p
		}
	}
	if name == g.o.OperatorName {
		return &messages.Principal{Name: name}
	}
	return nil
}
