package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"modelops/bridges/process"
	"modelops/messages"
)

// recipeText is what of a recipe its process is started with, as a person wrote it: ${VAR} stays, and a secret that stands in the file is
// replaced by ${secret.N}. So it is journaled with each job, and shown.
type recipeText struct {
	Cmd, Env, Watch, Cancel []string
}

// recipesWritten are the texts of recipes and the secrets that stand in them, by the recipes' names.
type recipesWritten struct {
	text   map[string]recipeText
	sealed map[string][]string
}

// wordsOfRecipe are the words that the start of a recipe's process fills in.
func wordsOfRecipe(n *node, given Recipe) []string {
	words := slices.Concat(recipeWords, slices.Collect(maps.Keys(given.Parameters)), slices.Collect(maps.Keys(given.Smaller)))
	for _, part := range []string{"parameters", "smaller"} {
		if in := n.get(part); in != nil {
			for _, f := range in.fields {
				words = append(words, f.name)
			}
		}
	}
	return words
}

// recipesCheck checks the recipes and splits their commands.
func (k *checker) recipesCheck() {
	for _, name := range slices.Sorted(maps.Keys(k.Learning.Recipes)) {
		r := k.Learning.Recipes[name]
		at := []string{"learning", "recipes", name}
		wrong := func(key, what, expected string) { k.wrong(append(slices.Clone(at), key), what, expected) }
		if !plainRecipe(name) {
			k.wrong(at, "this is no recipe's name", messages.GoodPlainName)
			continue
		}
		for _, part := range []struct {
			key  string
			list *[]string
		}{{"cmd", &r.Cmd}, {"watch", &r.Watch}, {"cancel", &r.Cancel}} {
			words, err := splitCommand(*part.list)
			if err != nil {
				wrong(part.key, messages.AsError(err).Message, "words as in a shell, or a list of them")
			}
			*part.list = words
		}
		switch {
		case len(r.Cmd) == 0 && !k.doubtful(joined(at, "cmd")):
			k.wrong(at, "there is nothing to run", "cmd")
		case len(r.Cancel) > 0 && len(r.Watch) == 0:
			wrong("cancel", "is given without watch", "watch too, or no cancel")
		case len(r.Watch) > 0 && r.Checkpoint != "none":
			wrong("checkpoint", "a run at another engine isn't asked for checkpoints", "none, or no watch")
		}
		k.parametersCheck(r, at, wrong)
		k.recipeEnv(r, at)
		k.Learning.Recipes[name] = r
	}
}

func plainRecipe(name string) bool { return messages.PlainName.MatchString(name) }

// parametersCheck keeps secrets out of what is journaled, and words that mean something else out of the names.
func (k *checker) parametersCheck(r Recipe, at []string, wrong func(key, what, expected string)) {
	for _, part := range []struct {
		key    string
		values map[string]string
	}{{"parameters", r.Parameters}, {"smaller", r.Smaller}} {
		for _, name := range slices.Sorted(maps.Keys(part.values)) {
			raw := k.root.walk(append(slices.Clone(at), part.key, name)...)
			secret := messages.SecretName(name) || messages.ReplaceSecrets(part.values[name], func(string) string { return "" }) != part.values[name]
			if raw != nil {
				for _, m := range reference.FindAllStringSubmatch(raw.text, -1) {
					secret = secret || messages.SecretName(m[1]+m[2])
				}
			}
			switch {
			case slices.Contains(recipeWords, name):
				wrong(part.key, fmt.Sprintf("%s is a word of every recipe", name), "another name")
			case secret:
				wrong(part.key, fmt.Sprintf("%s holds a secret, and parameters are journaled", name), "NAME=value under env")
			}
		}
	}
}

func (k *checker) recipeEnv(r Recipe, at []string) {
	for i, kv := range r.Env {
		name, _, given := strings.Cut(kv, "=")
		if (name == "" || !given && !variableName.MatchString(name)) && !k.broken(index(joined(at, "env"), i)) {
			k.add(k.root.walk(append(slices.Clone(at), "env")...).item(i), index(joined(at, "env"), i), "has no name with =",
				"NAME=value, or NAME for the value that modelops itself was started with")
		}
	}
}

// splitCommand takes a command that was written as a text apart.
func splitCommand(words []string) ([]string, error) {
	if len(words) != 1 {
		return words, nil
	}
	return process.SplitWords(words[0])
}

// keepRecipes notes how each recipe was written.
func (c *Config) keepRecipes(raw map[string]Recipe, vars map[string]string) {
	c.recipes = recipesWritten{map[string]recipeText{}, map[string][]string{}}
	for name, r := range raw {
		var s messages.Sealer
		split := func(words []string) []string {
			out, _ := splitCommand(words) // the check says what is wrong with it
			return s.List(out)
		}
		t := recipeText{Cmd: split(r.Cmd), Env: s.List(r.Env), Watch: split(r.Watch), Cancel: split(r.Cancel)}
		c.recipes.text[name], c.recipes.sealed[name] = t, s.Secrets
		c.named = append(c.named, words{Env: r.Env, Args: slices.Concat(r.Cmd, r.Watch, r.Cancel)}.named(vars)...)
	}
}

// recipeWritten is a recipe with the words that may be journaled and shown.
func (c *Config) recipeWritten(name string) Recipe {
	r := c.Learning.Recipes[name]
	if t, ok := c.recipes.text[name]; ok {
		r.Cmd, r.Env, r.Watch, r.Cancel = t.Cmd, t.Env, t.Watch, t.Cancel
	}
	return r
}

// RecipeSecret is the N-th secret that stands in a recipe, counted from 1 in the order of ${secret.N}. Empty is unknown.
func (c *Config) RecipeSecret(recipe string, n int) string {
	if s := c.recipes.sealed[recipe]; n > 0 && n <= len(s) {
		return s[n-1]
	}
	return ""
}

// shownRecipes are the recipes as a person wrote them, without the secrets that stand in them.
func (c *Config) shownRecipes() map[string]Recipe {
	out := make(map[string]Recipe, len(c.Learning.Recipes))
	for name := range c.Learning.Recipes {
		r := c.recipeWritten(name)
		for _, list := range []*[]string{&r.Cmd, &r.Env, &r.Watch, &r.Cancel} {
			*list = slices.Clone(*list)
			for i, text := range *list {
				(*list)[i] = sealed.ReplaceAllString(text, hidden)
			}
		}
		out[name] = r
	}
	return out
}

// recipesRooted makes their paths absolute.
func (c *Config) recipesRooted(folder string) {
	for name, r := range c.Learning.Recipes {
		r.Dir = under(folder, r.Dir)
		for _, list := range [][]string{r.Cmd, r.Watch, r.Cancel} {
			if len(list) > 0 {
				list[0] = program(folder, list[0])
			}
		}
		c.Learning.Recipes[name] = r
	}
	for _, t := range c.recipes.text {
		for _, list := range [][]string{t.Cmd, t.Watch, t.Cancel} {
			if len(list) > 0 {
				list[0] = program(folder, list[0])
			}
		}
	}
}

// program is a program with its path beside the file. A bare name is looked for in PATH, and one that begins with a variable is what that says.
func program(folder, word string) string {
	if strings.ContainsRune(word, filepath.Separator) && !strings.HasPrefix(word, "${") {
		return under(folder, word)
	}
	return word
}

// Recipes are the recipes' names.
func (c *Config) Recipes() []string { return slices.Sorted(maps.Keys(c.Learning.Recipes)) }

// Recipe is a recipe as it is journaled with a job, and what its jobs are; nil when there is none of the name.
func (c *Config) Recipe(name string) (*messages.Recipe, messages.JobSpec_Kind) {
	r, ok := c.Learning.Recipes[name]
	if !ok {
		return nil, messages.JobSpec_kind_unknown
	}
	w := c.recipeWritten(name)
	return &messages.Recipe{Name: name, Command: w.Cmd, Env: w.Env, Dir: r.Dir, Parameters: r.Parameters, Smaller: r.Smaller, VramBytes: uint64(r.VRAMMB) * messages.MiB,
		Devices: uint32(r.Devices), Checkpoint: r.Checkpoint, KeepCheckpoints: uint32(r.KeepCheckpoints), GraceSeconds: uint32(r.Grace.Seconds()), WallSeconds: uint32(r.WallTime.Seconds()),
		Cpus: r.CPUs, MemoryBytes: uint64(r.MemoryMB) * messages.MiB, Retries: uint32(r.Retries), Watch: w.Watch, Cancel: w.Cancel, Attached: len(r.Watch) > 0,
	}, messages.JobSpec_Kind(messages.JobSpec_Kind_value[r.Kind])
}
