package runtime

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"modelops/messages"
)

var (
	variableRef = regexp.MustCompile(`\$\{(?:env\.)?([A-Za-z_][A-Za-z0-9_-]*)(?::([^}]*))?\}`)
	secretRef   = regexp.MustCompile(`\$\{secret\.(\d+)\}`)
)

// modelWords are filled in when the process is started, whatever variables there are.
var modelWords = map[string]bool{"PORT": true, "MODEL_ID": true, "PID": true}

// resolved is a declaration with the values of ${VAR}, ${VAR:default}, ${secret.N} and names alone in env filled in. A declaration is journaled without them, so they
// are read each time and never kept. What is no variable of ours stays, because it may be a macro.
func (r *Runtime) resolved(spec *messages.ModelSpec) *messages.ModelSpec {
	if spec == nil || !slices.ContainsFunc(texts(spec), func(text *string) bool { return strings.Contains(*text, "${") }) && !slices.ContainsFunc(spec.Env, passedOn) {
		return spec
	}
	out := spec.Clone()
	for _, text := range texts(out) {
		*text = r.value(spec.Name, *text)
	}
	for i, item := range out.Env {
		if value, set := r.env[item]; set && passedOn(item) {
			out.Env[i] = item + "=" + value
		}
	}
	return out
}

// passedOn tells whether an item of env is a name alone, whose value is ours.
func passedOn(item string) bool { return !strings.Contains(item, "=") }

// texts are what of a declaration may hold variables.
func texts(spec *messages.ModelSpec) []*string {
	out := []*string{&spec.Path, &spec.Cmd, &spec.CmdStop, &spec.Url, &spec.CheckEndpoint}
	for _, list := range [][]string{spec.Args, spec.Env} {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	return out
}

func (r *Runtime) value(model, text string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	text = variableRef.ReplaceAllStringFunc(text, func(whole string) string {
		m := variableRef.FindStringSubmatch(whole)
		value, set := r.env[m[1]]
		switch {
		case modelWords[m[1]]:
			return whole
		case set:
			return value
		case strings.Contains(whole, ":"):
			return m[2]
		}
		return whole
	})
	return secretRef.ReplaceAllStringFunc(text, func(whole string) string {
		n, err := strconv.Atoi(secretRef.FindStringSubmatch(whole)[1])
		if err != nil || r.o.Secret == nil {
			return whole
		}
		if value := r.o.Secret(messages.BaseOf(model), n); value != "" {
			return value
		}
		return whole
	})
}

// Address is a worker's address with its variables and secrets filled in, for who is about to connect. model is the worker's.
func (r *Runtime) Address(model, url string) string { return r.value(model, url) }
