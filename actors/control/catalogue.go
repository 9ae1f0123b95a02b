package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// Catalogue shows the models to the host actor; it implements host.Models.
type Catalogue struct {
	Host    string
	View    View
	Gateway Gateway
	Now     func() time.Time
	// Preloads tells whether the configuration preloads a model.
	Preloads func(model string) bool
}

func (c Catalogue) model(name string) *messages.ModelView {
	return c.View.Model(messages.ModelActor(c.Host, name))
}

// Declared implements host.Models.
func (c Catalogue) Declared() []*messages.DeclaredModel {
	var out []*messages.DeclaredModel
	for _, v := range c.View.ModelsOf(c.Host) {
		if s := v.Spec; s != nil {
			out = append(out, &messages.DeclaredModel{Name: v.Name, Aliases: s.Aliases, ReplicaOf: s.ReplicaOf, Resident: resident(v), LoadSeconds: s.LoadTimeoutSeconds})
		}
	}
	slices.SortFunc(out, func(a, b *messages.DeclaredModel) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// resident tells whether a model holds memory, or is about to. One that is being unloaded for good doesn't.
func resident(v *messages.ModelView) bool {
	switch v.Phase {
	case messages.ModelView_phase_unknown, messages.ModelView_absent, messages.ModelView_draining, messages.ModelView_stopping:
		return v.Wanted
	}
	return v.Phase != messages.ModelView_failed
}

// AwaitReady implements host.Models.
func (c Catalogue) AwaitReady(ctx context.Context, model string) error {
	v, err := c.View.AwaitModel(ctx, messages.ModelActor(c.Host, model), func(v *messages.ModelView) bool {
		return v.Phase == messages.ModelView_ready || failure(v) != nil || !v.Wanted
	})
	switch {
	case err != nil:
		return err
	case v.Phase == messages.ModelView_ready:
		return nil
	case failure(v) != nil:
		return failure(v)
	}
	return unloaded(v)
}

// Failed implements host.Models.
func (c Catalogue) Failed(model string) error { return failure(c.model(model)) }

// failure is why a model can't be loaded: its declaration is withdrawn, or no try is left.
func failure(v *messages.ModelView) error {
	switch {
	case v.GetSpec() == nil:
		return messages.NewError(messages.ModelNotFound, v.GetId(), "its declaration was withdrawn")
	case v.Phase == messages.ModelView_failed:
		return loadError(v)
	}
	return nil
}

// Keeps implements host.Models.
func (c Catalogue) Keeps(model string, elsewhere []string) string {
	v := c.model(model)
	s := v.GetSpec()
	by, _ := v.PinAt(c.Now().UnixMilli())
	switch {
	case s == nil:
		return ""
	case by != "":
		return "it is pinned"
	case c.Preloads(model):
		return "the configuration preloads it"
	case elsewhere == nil:
		return ""
	}
	for _, alias := range s.Aliases {
		if !slices.Contains(elsewhere, alias) {
			return "it answers " + alias
		}
	}
	return ""
}

// Calm implements host.Models.
func (c Catalogue) Calm(ctx context.Context, model string) error {
	return c.Gateway.AwaitCalm(ctx, model)
}
