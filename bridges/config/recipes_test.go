package config

import (
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// TestRecipes: those of the box are there without a line, a line changes what it names, and one of its own is split into words.
func TestRecipes(t *testing.T) {
	c := load(t, `
learning:
  recipes:
    lora: {vram_mb: 512, parameters: {steps: 9}}
    mine: {kind: fine_tune, cmd: "python3 'my train.py' ${DATASET} --lr ${lr}", parameters: {lr: 1e-3}, cpus: 1.5, dir: work}
    ray: {cmd: [ray, job, submit], watch: "ray job logs ${ATTACHED_ID}", cancel: [ray, job, stop, "${ATTACHED_ID}"]}
`, "")
	if got := strings.Join(c.Recipes(), " "); got != "dpo evaluate full lora mine ray" {
		t.Error(got)
	}
	lora, kind := c.Recipe("lora")
	if kind != messages.JobSpec_fine_tune || lora.VramBytes != 512*messages.MiB || lora.Parameters["steps"] != "9" || lora.Checkpoint != "signal" || !slices.Contains(lora.Command, "${rank}") {
		t.Errorf("%v", lora)
	}
	if _, rank := lora.Parameters["rank"]; !rank {
		t.Error("a line for one parameter takes the others away")
	}
	mine, _ := c.Recipe("mine")
	if !slices.Equal(mine.Command, []string{"python3", "my train.py", "${DATASET}", "--lr", "${lr}"}) || mine.Cpus != 1.5 || !strings.HasSuffix(mine.Dir, "/work") {
		t.Errorf("%v", mine)
	}
	if ray, _ := c.Recipe("ray"); !ray.Attached || len(ray.Watch) != 4 || ray.Checkpoint != "none" {
		t.Errorf("%v", ray)
	}
	if none, _ := c.Recipe("nobody's"); none != nil {
		t.Errorf("%v", none)
	}
	if again, _ := load(t, "", "").Recipe("lora"); again.VramBytes != 256*messages.MiB {
		t.Error("a file changes the recipes of another one")
	}
}

// TestRecipesTellNoSecret: what is journaled and shown names variables, and holds no secret of the file.
func TestRecipesTellNoSecret(t *testing.T) {
	c := load(t, `learning: {recipes: {mine: {cmd: "train --api-key canary-literal ${HF_TOKEN} ${WHERE:here}", env: [HF_TOKEN=canary-literal2, "A=${env.X}"]}}}`, "", "HF_TOKEN=canary-variable")
	r, _ := c.Recipe("mine")
	said := r.String()
	view, err := c.View()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the recipe": said, "the view": view.Yaml, "what is printed": b.String(), "a log": c.Hide("canary-literal canary-literal2 canary-variable")} {
		if strings.Contains(text, "canary") {
			t.Errorf("%s tells a secret: %s", where, text)
		}
	}
	if !slices.Contains(r.Command, "${HF_TOKEN}") || !slices.Contains(r.Command, "${WHERE:here}") || !slices.Contains(r.Env, "A=${env.X}") {
		t.Errorf("%q %q", r.Command, r.Env)
	}
	if c.RecipeSecret("mine", 1) != "canary-literal" || c.RecipeSecret("mine", 2) != "canary-literal2" || c.RecipeSecret("mine", 3) != "" {
		t.Errorf("%q", c.recipes.sealed)
	}
}

func TestWrongRecipes(t *testing.T) {
	for text, problem := range map[string]string{
		`cmd: x`:             "",
		`kind: tune, cmd: x`: `is "tune"`,
		`kind: custom`:       "there is nothing to run",
		`cmd: "x 'y"`:        "without its partner",
		`cmd: "x ${stepz}", parameters: {steps: 1}`: "did you mean",
		`cmd: "x ${a}", smaller: {a: 1}`:            "",
		`cmd: x, cancel: y`:                         "without watch",
		`cmd: x, watch: y, checkpoint: signal`:      "isn't asked for checkpoints",
		`cmd: x, parameters: {hf_token: a}`:         "holds a secret",
		`cmd: x, parameters: {a: "${MY_TOKEN:x}"}`:  "holds a secret",
		`cmd: x, parameters: {OUT: a}`:              "a word of every recipe",
		`cmd: x, env: ["=1"]`:                       "has no name with =",
		`cmd: x, cpus: -1`:                          "out of range",
		`cmd: x, cpus: many`:                        "expected a number",
		`cmd: x, vram_mb: -1`:                       "out of range",
		`cmd: x, devices: 65`:                       "out of range",
	} {
		_, err := Load(write(t, "learning: {recipes: {r: {"+text+"}}}"), nil, "")
		if (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", text, err, problem)
		}
	}
	if _, err := Load(write(t, "learning: {recipes: {a/b: {cmd: x}}}"), nil, ""); err == nil || !strings.Contains(err.Error(), "no recipe's name") {
		t.Error(err)
	}
}
