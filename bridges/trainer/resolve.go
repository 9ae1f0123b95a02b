package trainer

import (
	"regexp"
	"strconv"
	"strings"

	"modelops/bridges/process"
	"modelops/messages"
)

var (
	variableRef = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_-]*)(?::([^}]*))?\}`)
	secretRef   = regexp.MustCompile(`\$\{secret\.(\d+)\}`)
)

// resolved is a recipe with the values of ${VAR}, ${VAR:default} and ${secret.N} filled in. It is journaled without them, so they are read each time and
// never kept. The words of recipes and parameters come before variables of the same name, and stay.
func (t *Trainer) resolved(r *messages.Recipe, m process.Macros) *messages.Recipe {
	out := r.Clone()
	for _, list := range [][]string{out.GetCommand(), out.GetEnv(), out.GetWatch(), out.GetCancel()} {
		for i, text := range list {
			list[i] = t.filled(r.GetName(), text, m)
		}
	}
	return out
}

func (t *Trainer) filled(recipe, text string, m process.Macros) string {
	if !strings.Contains(text, "${") {
		return text
	}
	text = variableRef.ReplaceAllStringFunc(text, func(whole string) string {
		found := variableRef.FindStringSubmatch(whole)
		_, macro := m.Values[found[1]]
		value, set := t.o.Env[found[1]]
		switch {
		case macro || found[1] == "ATTACHED_ID":
			return "${" + found[1] + "}"
		case set:
			return value
		case strings.Contains(whole, ":"):
			return found[2]
		}
		return whole
	})
	return secretRef.ReplaceAllStringFunc(text, func(whole string) string {
		n, err := strconv.Atoi(secretRef.FindStringSubmatch(whole)[1])
		if err != nil || t.o.Secret == nil {
			return whole
		}
		if value := t.o.Secret(recipe, n); value != "" {
			return value
		}
		return whole
	})
}
