package runtime

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"modelops/bridges/process"
	"modelops/messages"
)

// wish is what the operator said about a model's devices, by its environment and arguments.
type wish struct {
	kinds   []string // the kinds of devices that are left; empty = those of the engine
	devices []string // a device's name (gpu1), its number (1), or the beginning of a UUID; empty = any
	shards  uint32   // how many of them it takes; 0 = as declared
	args    bool     // its arguments number devices
}

// vendor is how the devices of one vendor are named.
type vendor struct {
	name      string // the beginning of its devices' names
	kinds     []string
	variables []string // the first one that is set rules
	args      []string // beginnings of the words that llama.cpp calls its devices by, in small letters
}

var vendors = []vendor{
	{"gpu", []string{"cuda", "unified"}, []string{"CUDA_VISIBLE_DEVICES"}, []string{"cuda"}},
	{"amd", []string{"rocm"}, []string{"HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"}, []string{"rocm", "hip"}},
	{"intel", []string{"oneapi"}, []string{"ONEAPI_DEVICE_SELECTOR", "ZE_AFFINITY_MASK"}, []string{"sycl", "xpu"}},
}

// listed are the devices that a variable names in env; set is false where it names none of the vendor's variables.
func (v vendor) listed(env process.Environment) (devices []string, variable string, set bool) {
	for _, variable := range v.variables {
		text, set := env[variable]
		if !set {
			continue
		}
		if _, after, found := strings.Cut(text, ":"); found && variable == "ONEAPI_DEVICE_SELECTOR" { // level_zero:0,1
			text = after
		}
		devices = []string{}
		for word := range strings.SplitSeq(text, ",") {
			word, _, _ = strings.Cut(strings.TrimSpace(word), ".") // a tile of a device
			n, err := strconv.Atoi(word)
			switch {
			case word == "*":
				return nil, variable, false
			case word == "" || err == nil && n < 0 || word == "NoDevFiles":
				return devices, variable, true
			case err == nil:
				word = v.name + strconv.Itoa(n)
			}
			devices = append(devices, word)
		}
		return devices, variable, true
	}
	return nil, "", false
}

var deviceWord = regexp.MustCompile(`^([a-z]*):?(\d+)$`)

// wishOf reads a declaration. It fails when that contradicts itself, or the daemon's own process.Environment.
func (r *Runtime) wishOf(spec *messages.ModelSpec) (w wish, err error) {
	spec = r.resolved(spec)
	pairs, _ := process.Macros{Env: r.env, Known: knownMacros, Values: map[string]string{"MODEL_ID": publicName(spec)}}.ExpandAll(spec.Env)
	own := process.NewEnvironment(pairs)
	closed := 0
	for _, v := range vendors {
		devices, variable, set := v.listed(own)
		if !set {
			continue
		}
		if twice := repeated(devices); twice != "" {
			return w, contradiction(spec, "env: %s=%s names %s twice", variable, own[variable], twice)
		}
		if ours, ourVariable, limited := v.listed(r.env); limited && !covers(ours, devices) {
			return w, contradiction(spec, "env: %s=%s names a device that doesn't exist for the daemon: its own %s is %q", variable, own[variable], ourVariable, r.env[ourVariable])
		}
		if len(devices) == 0 {
			closed++
			continue
		}
		w.devices, w.kinds = append(w.devices, devices...), append(w.kinds, v.kinds...)
	}
	if closed > 0 && len(w.devices) == 0 {
		w.kinds = []string{"simulated", "cpu"}
	} else if len(w.devices) > 0 {
		w.kinds = append(w.kinds, "simulated")
	}
	if spec.Runtime != "embedded" && spec.Url == "" || spec.Cmd != "" {
		if w, err = r.byArguments(spec, own, w); err != nil {
			return w, err
		}
	}
	return w.sized(spec)
}

// repeated is a device that is named twice: CUDA shows none of the list then.
func repeated(devices []string) string {
	for i, d := range devices {
		if slices.Contains(devices[:i], d) {
			return d
		}
	}
	return ""
}

// byArguments narrows a wish by -dev and --main-gpu. Their numbers count in the list that the worker would see: the model's, else the daemon's.
// The main device of a split model is one of its own, by its place among them.
func (r *Runtime) byArguments(spec *messages.ModelSpec, own process.Environment, w wish) (_ wish, err error) {
	f := flagsOf(spec)
	dev, named := f.value("-dev", "--device")
	if named {
		if w, err = r.byWords(spec, own, w, dev); err != nil {
			return w, err
		}
	}
	main, has := f.value("-mg", "--main-gpu")
	if !has {
		return w, nil
	}
	mode, _ := f.value("-sm", "--split-mode")
	split := spec.Shards
	if split < 2 && len(w.devices) > 1 && (named || mode != "none") {
		split = uint32(len(w.devices))
	}
	n, err := strconv.Atoi(main)
	switch {
	case split > 1 && err == nil && n >= int(split):
		return w, contradiction(spec, "--main-gpu %d, and it is split over %d devices, of which the first is 0 (CUDA_VISIBLE_DEVICES in env says which they are)", n, split)
	case split > 1 || named:
		return w, nil
	}
	return r.byWords(spec, own, w, main)
}

// byWords narrows a wish by the devices that an argument lists.
func (r *Runtime) byWords(spec *messages.ModelSpec, own process.Environment, w wish, text string) (wish, error) {
	var devices []string
	for word := range strings.SplitSeq(strings.ToLower(text), ",") {
		word = strings.TrimSpace(word)
		if word == "none" || word == "cpu" {
			return wish{kinds: []string{"cpu", "unified", "simulated"}}, nil
		}
		m := deviceWord.FindStringSubmatch(word)
		if m == nil {
			return w, nil // cuda, auto: any
		}
		n, _ := strconv.Atoi(m[2])
		device, known, err := r.numbered(spec, own, m[1], n)
		if err != nil || !known {
			return w, err
		}
		devices = append(devices, device)
	}
	if w.devices != nil && !covers(w.devices, devices) && !slices.ContainsFunc(devices, isNumber) {
		return w, contradiction(spec, "the arguments name %s, and env leaves %s", strings.Join(devices, ", "), strings.Join(w.devices, ", "))
	}
	w.devices, w.args = devices, true
	return w, nil
}

func isNumber(s string) bool { _, err := strconv.Atoi(s); return err == nil }

// numbered is the device that an argument means by prefix and number. known is false for words that name devices in an order that isn't known.
func (r *Runtime) numbered(spec *messages.ModelSpec, own process.Environment, prefix string, n int) (device string, known bool, _ error) {
	for _, v := range vendors {
		if prefix != "" && !slices.Contains(v.args, prefix) {
			continue
		}
		for _, env := range []process.Environment{own, r.env} {
			list, variable, set := v.listed(env)
			switch {
			case set && n < len(list):
				return list[n], true, nil
			case set && (prefix != "" || len(list) > 0):
				return "", false, contradiction(spec, "the arguments name device %s%d, and %s=%s leaves %d", prefix, n, variable, env[variable], len(list))
			}
		}
		if prefix != "" {
			return v.name + strconv.Itoa(n), true, nil
		}
	}
	return strconv.Itoa(n), prefix == "", nil
}

// sized says how many of the named devices it takes: all, unless shards say fewer or its engine can't be split.
func (w wish) sized(spec *messages.ModelSpec) (wish, error) {
	n, shards := uint32(len(w.devices)), spec.Shards
	switch {
	case n == 0:
	case shards > n:
		return w, contradiction(spec, "shards: %d, and it may use %s only", shards, strings.Join(w.devices, ", "))
	case n > 1 && shards <= 1 && !slices.Contains([]string{"embedded", "whisper.cpp", "openai", "ollama"}, spec.Runtime):
		w.shards = n
	}
	return w, nil
}

// covers tells whether all the words are in a list. UUIDs may be shortened; a number and a UUID can't be compared here.
func covers(list, words []string) bool {
	comparable := func(s string) bool { return !strings.Contains(s, "-") }
	for _, word := range words {
		if !slices.ContainsFunc(list, func(of string) bool {
			return comparable(of) != comparable(word) || strings.HasPrefix(of, word) || strings.HasPrefix(word, of) && !comparable(of) || of == word
		}) {
			return false
		}
	}
	return true
}

func contradiction(spec *messages.ModelSpec, format string, args ...any) error {
	return messages.NewError(messages.ModelLoadError, subject(spec), "the declaration contradicts itself about devices: "+fmt.Sprintf(format, args...)).
		WithHint("correct env, args, cmd or shards of the model; modelops gpus lists the devices")
}

// bind gives the worker its devices once more where the model's own variables name more of them than it was placed on, and lets CUDA count as
// the driver does.
func (r *Runtime) bind(env process.Environment, spec *messages.ModelSpec, placement *messages.Placement) error {
	w, err := r.wishOf(spec)
	if err != nil || placement.Gpu() == "" || r.o.DeviceEnv == nil {
		return err
	}
	bound := process.NewEnvironment(r.o.DeviceEnv(placement))
	for _, v := range vendors {
		for _, variable := range v.variables {
			_, own := process.NewEnvironment(spec.Env)[variable]
			switch devices, _, set := v.listed(env); {
			case own && bound[variable] != "" && set && (len(devices) != len(placement.GetShares()) || w.args || !unmistakable(env[variable], len(devices))):
				env[variable] = bound[variable]
			case own && variable == "CUDA_VISIBLE_DEVICES" && env["CUDA_DEVICE_ORDER"] == "":
				env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
			}
		}
	}
	if w.args {
		for name, flag := range variables {
			if _, set := env[name]; set && (flag == "--device" || flag == "--main-gpu") {
				words := w.renumber([]string{flag, env[name]}, placement)
				maps.Copy(env, process.Environment{name: words[1]})
			}
		}
	}
	return nil
}

// unmistakable tells whether a vendor's library takes a list as we did: numbers, and of several devices whole UUIDs. The beginning of a UUID may be that
// of another device too, and our own names say nothing to it.
func unmistakable(list string, n int) bool {
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if _, err := strconv.Atoi(word); err != nil && (n == 1 || !strings.Contains(word, "-")) {
			return false
		}
	}
	return true
}

// renumber rewrites the arguments that number devices: the worker sees only those of its placement, and counts them from 0.
func (w wish) renumber(argv []string, placement *messages.Placement) []string {
	shares := len(placement.GetShares())
	if !w.args || shares == 0 {
		return argv
	}
	out := slices.Clone(argv)
	for i, word := range out {
		name, value, joined := strings.Cut(word, "=")
		main := name == "-mg" || name == "--main-gpu"
		if !main && name != "-dev" && name != "--device" || main && shares > 1 { // the main one of several counts among them already
			continue
		}
		at := i
		if !joined {
			if at = i + 1; at >= len(out) {
				break
			}
			value = out[at]
		}
		if value = counted(value, shares); joined {
			value = name + "=" + value
		}
		out[at] = value
	}
	return out
}

// counted are the first words of a list, with numbers from 0 on: CUDA1,CUDA3 is CUDA0,CUDA1.
func counted(list string, most int) string {
	words := strings.Split(list, ",")
	words = words[:min(len(words), most)]
	for i, word := range words {
		if m := deviceWord.FindStringSubmatchIndex(strings.ToLower(strings.TrimSpace(word))); m != nil {
			word = strings.TrimSpace(word)
			words[i] = word[:m[4]] + strconv.Itoa(i)
		}
	}
	return strings.Join(words, ",")
}
