package config

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"modelops/messages"
)

// words are the texts of a model's declaration that its process is started with. They are journaled and shown as a person wrote them:
// macros are filled in, ${VAR} stays, and a secret that stands in the file is replaced by ${secret.N}.
type words struct {
	Path, Cmd, CmdStop, Proxy, URL, CheckEndpoint string
	Env, Args                                     []string
}

func (m Model) words() words {
	return words{Path: m.Path, Cmd: m.Cmd, CmdStop: m.CmdStop, Proxy: m.Proxy, URL: m.URL, CheckEndpoint: m.CheckEndpoint,
		Env: slices.Clone(m.Env), Args: slices.Clone(m.Args)}
}

// texts are the words that may name variables of the runtime and hold secrets, to be read or replaced.
func (w *words) texts() []*string {
	out := []*string{&w.Cmd, &w.CmdStop, &w.Proxy, &w.URL}
	for _, list := range [][]string{w.Env, w.Args} {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	return append(out, &w.Path)
}

// with is the model with other words.
func (m Model) with(w words) Model {
	m.Path, m.Cmd, m.CmdStop, m.Proxy, m.URL, m.CheckEndpoint, m.Env, m.Args = w.Path, w.Cmd, w.CmdStop, w.Proxy, w.URL, w.CheckEndpoint, w.Env, w.Args
	return m
}

// keepWords notes how each model's declaration was written. It is called before relative paths are joined with folder.
func (c *Config) keepWords(d *decoder, root *node, folder string) {
	raw := defaults()
	scratch := decoder{vars: d.vars, macros: d.macros, lenient: true, written: true, origins: map[string]origin{}}
	scratch.whole(root, &raw)
	c.callers = variablesIn(root.get("auth"), variablesIn(root.get("keys"), nil))
	c.written, c.sealed, c.inherited = map[string]words{}, map[string][]string{}, map[string][]string{}
	for name, value := range d.vars {
		if messages.SecretName(name) && len(value) >= leastSecret {
			c.around = append(c.around, value)
		}
	}
	for name, m := range raw.Models.Declare {
		w := m.words()
		if w.Path != "" && !filepath.IsAbs(c.Models.Declare[name].Path) {
			w.Path = filepath.Join(folder, w.Path)
		}
		c.written[name], c.sealed[name] = w.seal()
		c.inherited[name] = w.inherited(d.vars)
		c.named = append(c.named, w.named(d.vars)...)
	}
	c.keepRecipes(raw.Learning.Recipes, d.vars)
	slices.SortFunc(c.named, func(a, b substitute) int { return len(b.value) - len(a.value) }) // the longest first, as in without
}

// variablesIn adds the names of the variables that a part of the file names.
func variablesIn(n *node, out []string) []string {
	if n == nil {
		return out
	}
	for _, m := range reference.FindAllStringSubmatch(n.text, -1) {
		out = append(out, m[1])
	}
	for _, f := range n.fields {
		out = variablesIn(f.val, out)
	}
	for _, item := range n.items {
		out = variablesIn(item, out)
	}
	return out
}

// CallersVariables are the variables that hold callers' keys.
func (c *Config) CallersVariables() []string { return c.callers }

// substitute is a variable of our environment that the file names.
type substitute struct{ name, value string }

// named are the variables in w whose values are kept out of texts. Paths and short values stand in too many of them.
func (w words) named(vars map[string]string) []substitute {
	var out []substitute
	for _, text := range w.texts() {
		for _, m := range reference.FindAllStringSubmatch(*text, -1) {
			name := m[1]
			if name == "env" && m[2] != "" {
				name = m[2][1:]
			}
			out = append(out, hideable(name, vars[name])...)
		}
	}
	for _, item := range w.Env {
		if !strings.Contains(item, "=") {
			out = append(out, hideable(item, vars[item])...)
		}
	}
	return out
}

func hideable(name, value string) []substitute {
	if len(value) < leastSecret || strings.HasPrefix(value, "/") || strings.HasPrefix(value, ".") {
		return nil
	}
	return []substitute{{name, value}}
}

// inherited are the variables that reach the process from our environment at its start, NAME=value: those of ${env.NAME}, and names in env
// without a value. A model's revision depends on them, as it does on ${VAR}.
func (w words) inherited(vars map[string]string) []string {
	var out []string
	for _, text := range w.texts() {
		for _, m := range reference.FindAllStringSubmatch(*text, -1) {
			if m[1] == "env" && m[2] != "" {
				out = append(out, m[2][1:]+"="+vars[m[2][1:]])
			}
		}
	}
	for _, item := range w.Env {
		if !strings.Contains(item, "=") {
			out = append(out, item+"="+vars[item])
		}
	}
	return out
}

// shown is the configuration as a person wrote it, without the secrets that stand in its declarations.
func (c *Config) shown() Config {
	d := *c
	d.Models.Declare = make(map[string]Model, len(c.Models.Declare))
	for name, m := range c.Models.Declare {
		m = c.asWritten(name, m)
		w := m.words()
		for _, text := range w.texts() {
			*text = sealed.ReplaceAllString(*text, hidden)
		}
		d.Models.Declare[name] = m.with(w)
	}
	d.Learning.Recipes = c.shownRecipes()
	return d
}

// asWritten is the declaration of a model with the words that may be journaled and shown.
func (c *Config) asWritten(name string, m Model) Model {
	w, ok := c.written[name]
	if !ok {
		return m
	}
	w.Path, w.Proxy = cmp.Or(w.Path, m.Path), cmp.Or(w.Proxy, m.Proxy) // what follows from other keys
	return m.with(w)
}

// Secret is the N-th secret that stands in a model's declaration, counted from 1 in the order of ${secret.N}. Empty is unknown.
func (c *Config) Secret(model string, n int) string {
	if s := c.sealed[model]; n > 0 && n <= len(s) {
		return s[n-1]
	}
	return ""
}

// leastSecret is how long the value of a variable must be to be looked for in texts: shorter ones stand in many words.
const leastSecret = 8

// Hide replaces secrets in a text that a worker or a failure wrote: those of the file, variables whose name says so, and what looks like one.
// The values of other variables of the declarations become their names again, as the declarations are shown.
func (c *Config) Hide(text string) string {
	text = without(text, append(c.around[:len(c.around):len(c.around)], c.secrets...))
	for _, all := range []map[string][]string{c.sealed, c.recipes.sealed} {
		for _, own := range all {
			text = without(text, own)
		}
	}
	for _, v := range c.named {
		text = strings.ReplaceAll(text, v.value, "${"+v.name+"}")
	}
	return redacted(text, nil)
}

var sealed = regexp.MustCompile(`\$\{secret\.\d+\}`)

// seal replaces the secrets in w by ${secret.N} and returns them in their order.
func (w words) seal() (words, []string) {
	var s messages.Sealer
	for _, text := range []*string{&w.Cmd, &w.CmdStop, &w.Proxy, &w.URL} {
		*text = s.Text(*text)
	}
	w.Env, w.Args = s.List(w.Env), s.List(w.Args)
	w.Path = s.Text(w.Path)
	return w, s.Secrets
}
