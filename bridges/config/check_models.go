package config

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"modelops/messages"
)

// models checks the declarations and the preload list, and declares what is only preloaded.
func (k *checker) models() {
	for _, name := range slices.Sorted(maps.Keys(k.Models.Declare)) {
		m := k.Models.Declare[name]
		k.model(name, &m)
		k.Models.Declare[name] = m
	}
	k.aliases()
	k.preload()
}

func (k *checker) model(name string, m *Model) {
	at := []string{"models", "declare", name}
	wrong := func(key, what, expected string) { k.wrong(append(slices.Clone(at), key), what, expected) }
	given := m.sources()
	if k.doubtful(joined(at, "path"), joined(at, "cmd"), joined(at, "url"), joined(at, "runtime")) {
		return
	}
	if len(given) != 1 && !(len(given) == 0 && m.runsWithout()) {
		what := "there is nothing to run"
		if len(given) > 1 {
			what = strings.Join(given, " and ") + " exclude each other"
		}
		k.wrong(at, what, "one of path, cmd, url")
		return
	}
	want := sourceOf(m.Runtime)
	if m.Runtime != "" && len(given) == 1 && given[0] != want {
		wrong("runtime", fmt.Sprintf("%s does not go with %s", m.Runtime, given[0]), want)
		return
	}
	if runtime := map[string]string{"cmd": RuntimeCommand, "url": RuntimeOpenAI}[strings.Join(given, "")]; runtime != "" && m.Runtime == "" {
		m.Runtime = runtime
		k.derive(joined(at, "runtime"), "from "+given[0])
	}
	k.modelAddresses(*m, wrong)
	k.modelTimes(*m, name, wrong)
	k.replicas(m, at, wrong)
	k.groups(name, *m)
	k.hosts(name, *m)
	for i, kv := range m.Env {
		name, _, given := strings.Cut(kv, "=")
		if (name == "" || !given && !variableName.MatchString(name)) && !k.broken(index(joined(at, "env"), i)) {
			k.add(k.root.walk("models", "declare", at[2], "env").item(i), index(joined(at, "env"), i), "has no name with =",
				"NAME=value, or NAME for the value that modelops itself was started with")
		}
	}
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// runsWithout: llama.cpp can be told its model by arguments, and ollama has one address for all models.
func (m Model) runsWithout() bool {
	return m.Runtime == RuntimeLlamaCpp && len(m.Args) > 0 || m.Runtime == RuntimeOllama
}

func joined(path []string, key string) string {
	out := ""
	for _, p := range append(slices.Clone(path), key) {
		out = join(out, p)
	}
	return out
}

func (m Model) sources() []string {
	var given []string
	for _, s := range []struct{ key, val string }{{"path", m.Path}, {"cmd", m.Cmd}, {"url", m.URL}} {
		if strings.TrimSpace(s.val) != "" {
			given = append(given, s.key)
		}
	}
	return given
}

func (k *checker) modelAddresses(m Model, wrong func(key, what, expected string)) {
	if m.Cmd == "" {
		for _, f := range []struct{ key, val string }{{"cmdStop", m.CmdStop}, {"proxy", m.Proxy}} {
			if f.val != "" {
				wrong(f.key, "is given without cmd", "cmd too, or no "+f.key)
			}
		}
	} else if m.Proxy == "" && !m.mentionsPort() {
		wrong("cmd", "does not use ${PORT}, so the address of its server is unknown", "${PORT} in cmd, args or env, or an address in proxy")
	}
	if m.URL == "" && m.Cmd == "" && m.APIKeyEnv != "" {
		wrong("api_key_env", "is given without url or cmd", "url or cmd too, or no api_key_env")
	}
	for _, f := range []struct{ key, val string }{{"proxy", m.Proxy}, {"url", m.URL}} {
		if f.val == "" || strings.Contains(f.val, "${") {
			continue
		}
		if u, err := url.Parse(f.val); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			wrong(f.key, "is no address", "http://host:port or https://host/path")
		}
	}
	if e := m.CheckEndpoint; e != "" && e != "none" && !strings.HasPrefix(e, "/") {
		wrong("checkEndpoint", fmt.Sprintf("is %q", clip(e)), "a path such as /health, or none")
	}
	if m.Runtime == RuntimeEmbedded && path.Ext(m.Path) != ".gguf" {
		wrong("path", "the embedded engine reads only .gguf files", "a .gguf file, or runtime llama.cpp")
	}
}

func (m Model) mentionsPort() bool {
	return slices.ContainsFunc(append(append([]string{m.Cmd}, m.Args...), m.Env...), func(s string) bool {
		return strings.Contains(s, "${PORT}")
	})
}

func (k *checker) modelTimes(m Model, name string, wrong func(key, what, expected string)) {
	at := k.root.walk("models", "declare", name)
	if m.KeepAlive != nil && at.get("ttl") != nil {
		wrong("keep_alive", "says the same as ttl", "one of the two")
	}
	if at.get("load_timeout") != nil && at.get("healthCheckTimeout") != nil {
		wrong("healthCheckTimeout", "says the same as load_timeout", "one of the two")
	}
	if m.Pinned && m.KeepAlive != nil && *m.KeepAlive >= 0 {
		wrong("keep_alive", "a pinned model is never unloaded", "no keep_alive, or no pinned")
	}
	idle := m
	if m.TTL < 0 {
		idle.TTL = k.Models.GlobalTTL
	}
	if limit, ends := idle.IdleLimit(); m.Sleep > 0 && ends && limit <= m.Sleep {
		wrong("sleep", fmt.Sprintf("%s is not before the model is unloaded, which is after %s", short(m.Sleep), short(limit)), "less than ttl or keep_alive, or 0")
	}
	if m.Pinned && m.TTL > 0 {
		wrong("ttl", "a pinned model is never unloaded", "no ttl, or no pinned")
	}
	limit := k.Resources.VRAMSoftLimitMB
	switch {
	case m.VRAMMB == 0, k.doubtful(joined([]string{"models", "declare", name}, "shards")): // the share of a device isn't known
	case !k.splits(m) && m.VRAMMB > limit:
		wrong("vram_mb", fmt.Sprintf("%d MiB is more than resources.vram_soft_limit_mb %d, and %s runs on one device, so it can never be loaded", m.VRAMMB, limit, m.Runtime),
			"less memory, another runtime or a higher limit")
	case (m.VRAMMB+max(1, m.Shards)-1)/max(1, m.Shards) > limit:
		wrong("vram_mb", fmt.Sprintf("%d MiB over %d devices is more than resources.vram_soft_limit_mb %d, so it can never be loaded",
			m.VRAMMB, m.Shards, k.Resources.VRAMSoftLimitMB), "less memory, more shards or a higher limit")
	}
}

// splits tells whether a model's engine runs over several devices. Simulated ones take any share.
func (k *checker) splits(m Model) bool {
	return len(k.Resources.Devices) > 0 || m.Runtime != RuntimeEmbedded && m.Runtime != RuntimeWhisperCpp
}

// replicas need a place each to answer at.
func (k *checker) replicas(m *Model, at []string, wrong func(key, what, expected string)) {
	section := k.root.walk(append(slices.Clone(at), "replicas")...)
	if section.get("max") == nil && m.Replicas.Min > m.Replicas.Max {
		m.Replicas.Max = m.Replicas.Min
		k.derive(joined(at, "replicas")+".max", "from replicas.min")
	}
	r := m.Replicas
	switch {
	case k.broken(joined(at, "replicas")):
	case r.Min > r.Max:
		wrong("replicas", fmt.Sprintf("min %d is more than max %d", r.Min, r.Max), "min at most max")
	case r.Max > 1 && m.Cmd != "" && !m.mentionsPort():
		wrong("replicas", "the command has one address, and each worker needs its own", "${PORT} in cmd, args or env, or one replica")
	case r.Max > 1 && (m.URL != "" || m.Runtime == RuntimeOllama):
		wrong("replicas", "a server that isn't started here has no replicas", "one replica")
	}
}

// groups are names like those of models, each once.
func (k *checker) groups(name string, m Model) {
	list := k.root.walk("models", "declare", name, "groups")
	for i, group := range m.Groups {
		at := index(joined([]string{"models", "declare", name}, "groups"), i)
		if k.broken(at) {
			continue
		}
		if what := messages.BadName(group); what != "" {
			k.add(list.item(i), at, what, messages.GoodName)
		} else if slices.Contains(m.Groups[:i], group) {
			k.add(list.item(i), at, fmt.Sprintf("%q is named twice", group), "each group once")
		}
	}
}

// hosts are names of hosts, each once, and the preference is one that is known.
func (k *checker) hosts(name string, m Model) {
	list := k.root.walk("models", "declare", name, "hosts")
	for i, host := range m.Hosts {
		at := index(joined([]string{"models", "declare", name}, "hosts"), i)
		if k.broken(at) {
			continue
		}
		if what := messages.BadName(host); what != "" {
			k.add(list.item(i), at, what, messages.GoodName)
		} else if slices.Contains(m.Hosts[:i], host) {
			k.add(list.item(i), at, fmt.Sprintf("%q is named twice", host), "each host once")
		}
	}
}

// aliases must lead to one model.
func (k *checker) aliases() {
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(k.Models.Declare)) {
		list := k.root.walk("models", "declare", name, "aliases")
		for i, alias := range k.Models.Declare[name].Aliases {
			at := index(joined([]string{"models", "declare", name}, "aliases"), i)
			if k.broken(at) {
				continue
			}
			if _, is := k.Models.Declare[alias]; is {
				k.add(list.item(i), at, fmt.Sprintf("%q is the name of a model", alias), "a name of its own")
			} else if other, is := owner[alias]; is {
				k.add(list.item(i), at, fmt.Sprintf("%q is an alias of %s too", alias, other), "a name of its own")
			} else if what := messages.BadName(alias); what != "" {
				k.add(list.item(i), at, what, messages.GoodName)
			}
			owner[alias] = name
		}
	}
}

func (k *checker) preload() {
	seen := map[string]int{}
	list := k.root.walk("models", "preload")
	for i, p := range k.Models.Preload {
		if k.broken(index("models.preload", i)) {
			continue
		}
		wrong := func(what, expected string) { k.add(list.item(i), index("models.preload", i), what, expected) }
		if what := messages.BadName(p.Name); what != "" {
			wrong("name: "+what, messages.GoodName)
			continue
		}
		name, m, declared := k.ModelNamed(p.Name)
		if j, twice := seen[name]; twice {
			wrong(fmt.Sprintf("%q is entry %d's too", p.Name, j), "each model once")
			continue
		}
		seen[name] = i
		switch {
		case !declared && p.Path == "" && k.failed["models.declare"]:
		case !declared && p.Path == "":
			wrong(fmt.Sprintf("%q has no path and is not declared", p.Name), "path, or models.declare."+p.Name)
		case !declared:
			m.setDefaults()
			m.Path, m.Shards = p.Path, p.Shards
			k.declare(name, m)
			k.derive(join("models.declare", name)+".path", "from "+index("models.preload", i))
			k.derive(join("models.declare", name)+".shards", "from "+index("models.preload", i))
		case p.Path != "" && p.Path != m.Path:
			wrong("path differs from the declared one", "one path; leave it out here")
		case list.item(i).get("shards") != nil && k.root.walk("models", "declare", name, "shards") != nil && p.Shards != m.Shards:
			wrong("shards differ from the declared ones", "one number; leave it out here")
		case list.item(i).get("shards") != nil:
			m.Shards = p.Shards
			k.declare(name, m)
			k.derive(join("models.declare", name)+".shards", "from "+index("models.preload", i))
		}
		k.Models.Preload[i].Name = name
	}
}

func (k *checker) declare(name string, m Model) {
	if k.Models.Declare == nil {
		k.Models.Declare = map[string]Model{}
	}
	k.Models.Declare[name] = m
}
