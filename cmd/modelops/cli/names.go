package cli

import (
	"context"
	"errors"
	"slices"

	"modelops/journal"
	"modelops/messages"
)

var errFound = errors.New("found")

// actor reads an entity's name. The short forms host, gpu/cpu, model/tiny and model/org/tiny mean entities of the journal's host. An entity of
// another host is one of a host whose copy is read too, or one of which the journal has a decision.
func (s *source) actor(ctx context.Context, text string, copies ...*source) (messages.ActorID, error) {
	return messages.ActorNamed(text, s.host, func(host string) bool {
		if copyOf(host, copies) != nil {
			return true
		}
		id, err := messages.ParseActorID(text)
		return err == nil && s.journal.Replay(ctx, journal.Query{Actor: id, Unknown: true}, func(messages.Recorded) error { return errFound }) != nil
	})
}

// copyOf is the copy of a host's journal; nil if there is none.
func copyOf(host string, copies []*source) *source {
	if i := slices.IndexFunc(copies, func(s *source) bool { return s.host == host }); i >= 0 {
		return copies[i]
	}
	return nil
}

// nameOf is an entity's name without kind and host.
func nameOf(actor string) string {
	id, err := messages.ParseActorID(actor)
	if err != nil || id.Name() == "" {
		return actor
	}
	return id.Name()
}

// hostOf is the host in an entity's name.
func hostOf(actor string) string {
	id, err := messages.ParseActorID(actor)
	if err != nil {
		return ""
	}
	return id.Host()
}

// modelIn finds a model by its name, else by an alias; nil when there is none.
func modelIn(s *messages.StatusView, name string) *messages.ModelView {
	if i := slices.IndexFunc(s.Models, func(m *messages.ModelView) bool { return m.Name == name }); i >= 0 {
		return s.Models[i]
	}
	if i := slices.IndexFunc(s.Models, func(m *messages.ModelView) bool { return slices.Contains(m.GetSpec().GetAliases(), name) }); i >= 0 {
		return s.Models[i]
	}
	return nil
}

// named is the model that answers to a name or an alias. An unknown one is ModelNotFound.
func (k *client) named(ctx context.Context, name string) (*messages.ModelView, error) {
	s, err := k.GetStatus(ctx, nil)
	if err != nil {
		return nil, err
	}
	m := modelIn(s, name)
	if m == nil {
		return nil, notFound(s, name)
	}
	return m, nil
}

func notFound(s *messages.StatusView, name string) error {
	return messages.Errorf(messages.ModelNotFound, name, "Model '%s' not found", name).WithHint(messages.DidYouMean(name, namesIn(s)) + "`modelops models` lists them")
}

// namesIn are the names and aliases of the models.
func namesIn(s *messages.StatusView) []string {
	var names []string
	for _, m := range s.Models {
		names = append(append(names, m.Name), m.GetSpec().GetAliases()...)
	}
	return names
}

// modelName is the name of the model that answers to a name or an alias.
func (k *client) modelName(ctx context.Context, name string) (string, error) {
	m, err := k.named(ctx, name)
	return m.GetName(), err
}
