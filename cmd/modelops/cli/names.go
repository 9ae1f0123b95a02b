package cli

import (
	"context"
	"slices"
	"strings"

	"modelops/messages"
)

// actorOn reads an entity's name. The short forms host, gpu/cpu and model/tiny mean entities of this host.
func actorOn(host, text string) (messages.ActorID, error) {
	if text == messages.KindHost {
		return messages.HostActor(host), nil
	}
	id, err := messages.ParseActorID(text)
	if err == nil {
		return id, nil
	}
	for _, kind := range messages.Kinds() {
		if name, ok := strings.CutPrefix(text, kind.Name+"/"); ok && kind.Identity == messages.Identity_HOST_AND_NAME {
			if id, bad := messages.ParseActorID(kind.Name + "/" + host + "/" + name); bad == nil {
				return id, nil
			}
		}
	}
	return messages.ActorID{}, err
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

// modelName is the name of the model that answers to a name or an alias. An unknown one is ModelNotFound.
func (k *client) modelName(ctx context.Context, name string) (string, error) {
	s, err := k.GetStatus(ctx, nil)
	if err != nil {
		return "", err
	}
	m := modelIn(s, name)
	if m == nil {
		return "", messages.Errorf(messages.ModelNotFound, name, "Model '%s' not found", name).WithHint("`modelops models` lists them")
	}
	return m.Name, nil
}
