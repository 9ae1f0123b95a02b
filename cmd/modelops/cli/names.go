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
// another host is one of which the journal has a decision.
func (s *source) actor(ctx context.Context, text string) (messages.ActorID, error) {
	return messages.ActorNamed(text, s.host, func(string) bool {
		id, err := messages.ParseActorID(text)
		return err == nil && s.journal.Replay(ctx, journal.Query{Actor: id, Unknown: true}, func(messages.Recorded) error { return errFound }) != nil
	})
}

// nameOf is an entity's name without kind and host.
func nameOf(actor string) string {
	id, err := messages.ParseActorID(actor)
	if err != nil || id.Name() == "" {
		return actor
	}
	return id.Name()
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
		return nil, messages.Errorf(messages.ModelNotFound, name, "Model '%s' not found", name).WithHint(messages.DidYouMean(name, namesIn(s)) + "`modelops models` lists them")
	}
	return m, nil
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
