package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const prefix = "MOC_"

// flat are the old coordinator's variables and the keys that they set.
var flat = []struct{ name, key string }{
	{"MOC_PORT", "server.grpc_port"}, // before MOC_GRPC_PORT, which wins
	{"MOC_GRPC_PORT", "server.grpc_port"},
	{"MOC_ZMQ_PORT", "server.zmq_port"},
	{"MOC_REST_PORT", "server.rest_port"},
	{"MOC_MAX_WORKERS", "server.max_workers"},
	{"MOC_LOG_LEVEL", "log.level"},
	{"MOC_HOST", "host"},
	{"MOC_DATA_DIR", "data_dir"},
	{"MOC_TITLE", "title"},
	{"MOC_VERSION", "version"},
	{"GPU_POLL_INTERVAL", "resources.gpu_poll_interval"},
	{"VRAM_SOFT_LIMIT_MB", "resources.vram_soft_limit_mb"},
	{"EVICTION_THRESHOLD_PCT", "resources.eviction_threshold_pct"},
	{"DEFAULT_DTYPE", "models.default_dtype"},
	{"ENABLE_QUANTIZATION", "models.quantization"},
	{"ENABLE_AUTO_TUNE", "learning.enable_auto_tune"},
	{"MAX_PARALLEL_JOBS", "learning.max_parallel_jobs"},
	{"MOC_LEARNING_STORE", "learning.job_store"}, // before JOB_STORE, which wins
	{"JOB_STORE", "learning.job_store"},
	{"GOAL_POLICY", "goals.policy"},
	{"MAX_ACTIVE_GOALS", "goals.max_active_goals"},
}

// withoutEffect are variables of old deployments, and why nothing follows from them.
var withoutEffect = map[string]string{
	"MOC_API_KEY":     "callers are named in keys, each with a key of its own: {name: default, key: \"${MOC_API_KEY}\"}",
	"MOC_ENABLE_TLS":  "server.tls in the configuration switches TLS on",
	"MOC_CERT_PATH":   "server.tls.cert and server.tls.key in the configuration name the files",
	"MOC_REDIS_URL":   "the journal keeps what Redis kept",
	"MOC_HA_ENABLED":  "each host is its own authority",
	"MOC_CONFIG_DIR":  "name the file with --config",
	"MOC_HEALTH_PORT": "health is served on server.rest_port and server.grpc_port",
}

// variables splits the environment. A name that stands twice has its last value, as in a shell.
func variables(env []string) map[string]string {
	vars := map[string]string{}
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" {
			vars[k] = v
		}
	}
	return vars
}

// An environment lays variables over a tree.
type environment struct {
	vars     map[string]string
	problems Problems
	notices  []string
}

func (e *environment) apply(root *node) *node {
	for _, f := range flat {
		val := e.vars[f.name]
		if val == "" { // compose files pass unset variables as empty ones
			continue
		}
		root = e.set(root, f.name, strings.Split(f.key, "."), val)
	}
	for _, name := range e.nested() {
		root = e.set(root, name, strings.Split(strings.TrimPrefix(name, prefix), "__"), e.vars[name])
	}
	return root
}

// nested lists the MOC_A__B variables, whole sections and lists before their parts.
func (e *environment) nested() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(e.vars)) {
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || slices.ContainsFunc(flat, func(f struct{ name, key string }) bool { return f.name == name }) {
			continue
		}
		if strings.Contains(rest, "__") {
			names = append(names, name)
		} else if why, ok := withoutEffect[name]; ok {
			e.notices = append(e.notices, name+" has no effect: "+why)
		} else {
			e.notices = append(e.notices, name+" has no effect: "+meant(rest))
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return strings.Count(a, "__") - strings.Count(b, "__") })
	return names
}

// meant guesses the key behind a name that was split at every underscore.
func meant(rest string) string {
	for _, path := range paths(reflect.TypeFor[Config](), "") {
		if plain(path) == plain(rest) && strings.Contains(path, ".") {
			return "write " + variable(path)
		}
	}
	return "a key is written MOC_SECTION__KEY, such as " + variable("server.grpc_port")
}

func variable(path string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(path, ".", "__"))
}

// paths lists the keys of all sections.
func paths(t reflect.Type, path string) []string {
	var all []string
	for _, f := range fieldsOf(t) {
		at := join(path, f.Tag.Get("yaml"))
		if f.Type.Kind() == reflect.Struct {
			all = append(all, paths(f.Type, at)...)
		} else {
			all = append(all, at)
		}
	}
	return all
}

func (e *environment) set(root *node, name string, segs []string, val string) *node {
	s := setter{environment: e, at: origin{variable: name}, val: val}
	if out := s.set(root, reflect.TypeFor[Config](), segs, ""); out != nil {
		return out
	}
	return root
}

// A setter puts one variable's value at its key.
type setter struct {
	*environment
	at  origin
	val string
}

// set returns n with the value at the key; nil when there is no such key, which it reports.
func (s setter) set(n *node, t reflect.Type, segs []string, path string) *node {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if len(segs) == 0 {
		return s.leaf(t, path)
	}
	if want, many := shapes[t.Kind()]; many && n != nil && !n.isNull() && n.kind != want {
		return n // the file is wrong here, and its mistake must not be covered
	}
	switch {
	case t.Kind() == reflect.Struct:
		return s.field(n, t, segs, path)
	case t.Kind() == reflect.Map:
		key := existing(n, segs[0])
		return s.into(n, key, t.Elem(), segs, join(path, key))
	case t.Kind() == reflect.Slice:
		return s.item(n, t, segs, path)
	}
	return s.refuse(path, "nothing is inside "+path, variable(path))
}

// shapes are the kinds of nodes that hold others.
var shapes = map[reflect.Kind]kind{reflect.Struct: mapping, reflect.Map: mapping, reflect.Slice: list}

func (s setter) refuse(path, what, expected string) *node {
	s.problems = append(s.problems, s.at.problem(path, what, expected))
	return nil
}

func (s setter) field(n *node, t reflect.Type, segs []string, path string) *node {
	var keys []string
	for _, f := range fieldsOf(t) {
		key := f.Tag.Get("yaml")
		if plain(key) == plain(segs[0]) {
			if alias := f.Tag.Get("alias"); alias != "" && n.get(alias) != nil {
				n = n.without(alias)
			}
			return s.into(n, key, f.Type, segs, join(path, key))
		}
		keys = append(keys, key)
	}
	if path == "" && strings.EqualFold(segs[0], "hosts") {
		return s.refuse("hosts", "a variable concerns this host already", prefix+strings.Join(segs[min(2, len(segs)):], "__"))
	}
	what := "there is no key " + strings.ToLower(segs[0])
	return s.refuse(join(path, strings.ToLower(segs[0])), what, wanted(strings.ToLower(segs[0]), t, path))
}

func (s setter) into(n *node, key string, t reflect.Type, segs []string, path string) *node {
	val := s.set(n.get(key), t, segs[1:], path)
	if val == nil {
		return nil
	}
	return n.with(key, val)
}

// item sets one entry of a list; the number after the last appends.
func (s setter) item(n *node, t reflect.Type, segs []string, path string) *node {
	var items []*node
	if n != nil && n.kind == list {
		items = slices.Clone(n.items)
	}
	i, err := strconv.Atoi(segs[0])
	if err != nil || i < 0 || i > len(items) {
		return s.refuse(path, fmt.Sprintf("there is no entry %s", segs[0]), fmt.Sprintf("a number from 0 to %d", len(items)))
	}
	if i == len(items) {
		items = append(items, nil)
	}
	val := s.set(items[i], t.Elem(), segs[1:], index(path, i))
	if val == nil {
		return nil
	}
	items[i] = val
	return &node{kind: list, items: items, at: val.at}
}

// leaf is the value itself: text for what is simple, YAML such as [a, b] or {a: 1} for lists and sections.
func (s setter) leaf(t reflect.Type, path string) *node {
	n := &node{text: s.val, literal: true, at: s.at}
	simple := t.Kind() != reflect.Struct && t.Kind() != reflect.Map && t.Kind() != reflect.Slice
	if simple && s.val == "" && t.Kind() != reflect.String {
		return s.refuse(path, "is empty", expectation(t, rule{}))
	}
	if text := strings.TrimSpace(s.val); simple || !strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "{") {
		return n
	}
	r := reader{variable: s.at.variable}
	if n = r.parse(s.val); n == nil && len(r.problems) == 0 {
		return nil
	}
	for i := range r.problems {
		r.problems[i].Path = strings.TrimSuffix(path+"."+r.problems[i].Path, ".")
	}
	s.problems = append(s.problems, r.problems...)
	if n != nil {
		n = n.asLiteral()
	}
	return n
}

// asLiteral marks what a variable holds: its ${...} is text, and its place is the variable.
func (n *node) asLiteral() *node {
	c := *n
	c.literal, c.path = true, ""
	c.fields, c.items = slices.Clone(n.fields), slices.Clone(n.items)
	for i := range c.fields {
		c.fields[i].val = c.fields[i].val.asLiteral()
	}
	for i := range c.items {
		c.items[i] = c.items[i].asLiteral()
	}
	return &c
}

// existing finds the name that a variable can spell only roughly (LLAMA3_1_8B for llama3.1:8b).
func existing(n *node, seg string) string {
	if n != nil {
		for _, f := range n.fields {
			if strings.EqualFold(letters(f.name), letters(seg)) {
				return f.name
			}
		}
	}
	return strings.ToLower(seg)
}

func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, s)
}
