package host

import (
	"slices"

	"modelops/messages"
)

// catalogue is what the declarations say about names.
type catalogue []*messages.DeclaredModel

// model is the declaration of a model; nil when there is none.
func (c catalogue) model(name string) *messages.DeclaredModel {
	for _, m := range c {
		if m.GetName() == name {
			return m
		}
	}
	return nil
}

// answers is the model that a name or alias means; empty when there is none. A model's own name wins over another one's alias.
func (c catalogue) answers(name string) string {
	if c.model(name) != nil {
		return name
	}
	for _, m := range c {
		if slices.Contains(m.GetAliases(), name) {
			return m.Name
		}
	}
	return ""
}

func (c catalogue) except(names []string) catalogue {
	return slices.DeleteFunc(slices.Clone(c), func(m *messages.DeclaredModel) bool { return slices.Contains(names, m.GetName()) })
}
