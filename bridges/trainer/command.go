package trainer

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"modelops/bridges/process"
	"modelops/messages"
)

// knownMacros names what recipes may use.
const knownMacros = "${DATASET}, ${EVAL_DATASET}, ${BASE}, ${MODEL}, ${OUT}, ${CHECKPOINTS}, ${RESUME}, ${JOB_ID}, ${ATTEMPT}, ${DEVICES}, ${SELF}, ${env.NAME}, and parameters"

// settings are a job's parameters: the recipe's, then the job's, then those of a smaller try.
func settings(spec *messages.JobSpec, smaller bool) map[string]string {
	out := map[string]string{}
	maps.Copy(out, spec.GetRecipe().GetParameters())
	maps.Copy(out, spec.GetParameters())
	if smaller {
		maps.Copy(out, spec.GetRecipe().GetSmaller())
	}
	return out
}

// macros are the words of a recipe's command with their values.
func (t *Trainer) macros(job string, spec *messages.JobSpec, values map[string]string, smaller bool) process.Macros {
	all := settings(spec, smaller)
	maps.Copy(all, values)
	f := t.folder(job)
	maps.Copy(all, map[string]string{
		"DATASET": spec.GetDataset(), "EVAL_DATASET": spec.GetEvalDataset(), "BASE": spec.GetBase(), "MODEL": spec.GetModel(), "OUT": f.out(),
		"CHECKPOINTS": f.checkpoints(), "JOB_ID": job, "SELF": t.o.Self,
	})
	return process.Macros{Values: all, Env: t.o.Env, Known: knownMacros}
}

var macro = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand puts values into a command's words. A word whose only value is empty is left out, and so is the option before it: --eval ${EVAL_DATASET}.
func expand(words []string, m process.Macros) (out []string, err error) {
	for _, w := range words {
		v, err := m.Expand(w)
		if err != nil {
			return nil, err
		}
		found := macro.FindAllStringSubmatch(w, -1)
		empty := len(found) == 1 && !strings.HasPrefix(found[0][1], "env.") && m.Values[found[0][1]] == ""
		switch {
		case empty && w == found[0][0]:
			if n := len(out); n > 0 && strings.HasPrefix(out[n-1], "-") && !strings.Contains(out[n-1], "=") {
				out = out[:n-1]
			}
		case empty && strings.HasPrefix(w, "-") && strings.HasSuffix(w, "="+found[0][0]):
		default:
			out = append(out, v)
		}
	}
	return out, nil
}

// environment is what an attempt's processes get: what children inherit, the devices, the job, then what the recipe declares. Later ones win.
func (t *Trainer) environment(job string, spec *messages.JobSpec, own []string, p *messages.Placement, m process.Macros, smaller bool) ([]string, error) {
	env := t.o.Env.Inherited(t.o.PassEnv, t.o.Withheld)
	if t.o.DeviceEnv != nil && p.Gpu() != "" {
		maps.Copy(env, process.NewEnvironment(t.o.DeviceEnv(p)))
	}
	all, err := json.Marshal(settings(spec, smaller))
	if err != nil {
		return nil, err
	}
	env["JOB_ID"], env["JOB_PARAMETERS"] = job, string(all)
	env["JOB_OUT"], env["JOB_CHECKPOINTS"], env["JOB_RESUME"] = m.Values["OUT"], m.Values["CHECKPOINTS"], m.Values["RESUME"]
	env["JOB_DATASET"], env["JOB_EVAL_DATASET"], env["JOB_BASE"] = spec.GetDataset(), spec.GetEvalDataset(), spec.GetBase()
	pairs, err := m.ExpandAll(own)
	if err != nil {
		return nil, err
	}
	for _, name := range pairs {
		if value, set := t.o.Env[name]; set && !strings.Contains(name, "=") {
			env[name] = value
		}
	}
	maps.Copy(env, process.NewEnvironment(pairs))
	out := make([]string, 0, len(env))
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out, nil
}
