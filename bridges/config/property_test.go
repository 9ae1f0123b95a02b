package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// written is a value of a configuration under its key path, with some ways to write it that say the same.
type written struct {
	path  []string
	forms []string
}

// elsewhereChecked are keys whose values depend on others or on files, or that are hidden where they are shown.
var elsewhereChecked = []string{"host", "data_dir", "server.bind", "server.names", "server.tls.auto", "server.tls.cert", "server.tls.key", "server.tls.client_ca", "server.cors.origins", "keys", "queue.classes", "queue.default_class", "resources.devices",
	"models.preload", "models.declare", "models.macros", "learning.recipes", "learning.quotas.goals", "learning.quotas.keys", "cluster.peers", "cluster.ca", "cluster.cert", "cluster.key", "nats.hub", "nats.hub_credentials", "nats.hub_user", "nats.hub_password_file", "nats.hub_domain", "nats.hub_ca", "journal.archive", "auth.oidc.issuer", "auth.oidc.audience", "auth.oidc.roles", "auth.proxy.from", "auth.proxy.roles", "runtimes.ollama.url"}

// someValues draws values for keys of all sections and a few models. Most of them go together.
func someValues(t *rapid.T) []written {
	keys := slices.DeleteFunc(paths(reflect.TypeFor[Config](), ""), func(p string) bool { return slices.Contains(elsewhereChecked, p) })
	var out []written
	for _, path := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 1, 12, rapid.ID).Draw(t, "keys") {
		typ, r := tagAt(path)
		out = append(out, written{strings.Split(path, "."), someForms(t, path, typ, r)})
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"m", "a.b:c", "org/x", "true"}), 0, 3, rapid.ID).Draw(t, "models") {
		at := func(keys ...string) []string { return append([]string{"models", "declare", name}, keys...) }
		out = append(out, written{at("path"), []string{"/" + strconv.Itoa(len(out)) + ".gguf"}})
		model := reflect.TypeFor[Model]()
		for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"shards", "load_timeout", "ttl", "min_residency", "concurrencyLimit", "unlisted", "useModelName",
			"vram_mb", "context_length", "parallel", "args", "env", "groups"}), 0, 5, rapid.ID).Draw(t, "of "+name) {
			f, _ := fieldNamed(model, key)
			out = append(out, written{at(key), someForms(t, key, f.Type, ruleOf(f.Tag))})
		}
		if most := rapid.IntRange(0, 3).Draw(t, "replicas"); most > 0 {
			out = append(out, written{at("replicas", "max"), []string{strconv.Itoa(most)}})
		}
		if size := rapid.IntRange(0, 3).Draw(t, "batch"); size > 0 {
			out = append(out, written{at("batch", "max_size"), []string{strconv.Itoa(size)}})
		}
	}
	return out
}

// someForms draws a value that the rule allows.
func someForms(t *rapid.T, key string, typ reflect.Type, r rule) []string {
	text := rapid.SampledFrom([]string{"x", "true", "null", "~", "7", "1.5", "#5", "a: b", "- a", "it's", `say "hi"`, "é", " x ", "a\nb", "{a}", "*a", "0x1f", "*"})
	switch {
	case typ == durationType:
		least, most := max(r.least, 0), min(r.most, time.Hour)
		d := least + time.Duration(rapid.IntRange(0, int((most-least)/time.Millisecond)).Draw(t, key))*time.Millisecond
		return []string{d.String(), short(d), strconv.FormatFloat(d.Seconds(), 'f', -1, 64)}
	case typ.Kind() == reflect.Int:
		n := rapid.Int64Range(*r.min, *r.max).Draw(t, key)
		return []string{fmt.Sprint(n), fmt.Sprintf("%#x", n), fmt.Sprintf("+%d", n)}
	case typ.Kind() == reflect.Bool:
		return rapid.SampledFrom([][]string{{"true", "True"}, {"false", "FALSE"}}).Draw(t, key)
	case len(r.enum) > 0:
		word := rapid.SampledFrom(r.enum).Draw(t, key)
		return []string{word, "'" + word + "'"}
	case typ.Kind() == reflect.Slice && key == "env":
		return []string{"[A=1, 'B=x y']", "[ 'A=1', \"B=x y\" ] # two"}
	case typ.Kind() == reflect.Slice && key == "groups":
		return []string{"[a, b]", `["a", 'b']`}
	case typ.Kind() == reflect.Slice:
		list := strings.Join(quotedAll(rapid.SliceOfN(text, 1, 3).Draw(t, key)), ", ")
		return []string{"[" + list + "]", "[ " + list + " ]"}
	}
	s := text.Draw(t, key)
	return []string{strconv.Quote(s), strconv.Quote(s) + " # as it is"}
}

func quotedAll(items []string) []string {
	var out []string
	for _, s := range items {
		out = append(out, strconv.Quote(s))
	}
	return out
}

// part is a part of a file: a value, or keys with parts.
type part struct {
	value string
	in    map[string]*part
}

func (p *part) put(path []string, value string) {
	if len(path) == 0 {
		p.value = value
		return
	}
	if p.in == nil {
		p.in = map[string]*part{}
	}
	if p.in[path[0]] == nil {
		p.in[path[0]] = &part{}
	}
	p.in[path[0]].put(path[1:], value)
}

// lines writes the keys in an order of the draw. places gets the line of each value.
func (p *part) lines(t *rapid.T, path string, out *[]string, places map[string]int) {
	keys := slices.Sorted(maps.Keys(p.in))
	if len(keys) > 1 {
		keys = rapid.Permutation(keys).Draw(t, "order")
	}
	for _, key := range keys {
		at, line := join(path, key), strings.Repeat("  ", strings.Count(path, "\x00"))+strconv.Quote(key)+":"
		if v := p.in[key]; v.in == nil {
			*out = append(*out, line+" "+v.value)
		} else {
			*out = append(*out, line)
		}
		places[strings.ReplaceAll(at, "\x00", "")] = len(*out)
		p.in[key].lines(t, at+"\x00", out, places)
	}
}

// file writes the values as a file for the host h, each in one of its forms, and some of them in the host's own part.
func file(t *rapid.T, values []written) (text string, places map[string]int) {
	root := &part{}
	root.put([]string{"host"}, "h")
	for _, v := range values {
		path := v.path
		if rapid.IntRange(0, 3).Draw(t, "of the host") == 0 {
			path = append([]string{"hosts", "h"}, path...)
		}
		root.put(path, rapid.SampledFrom(v.forms).Draw(t, "form"))
	}
	places = map[string]int{}
	var lines []string
	root.lines(t, "", &lines, places)
	return strings.Join(lines, "\n") + "\n", places
}

// unheardOf is a key that no section has and that is like none.
const unheardOf = "kwyjibo"

// accepted loads a text that may contradict itself; nil when it does.
func accepted(t *rapid.T, path, text string) *Config {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, []string{"MOC_DATA_DIR=/d"}, "")
	if err != nil && !strings.Contains(err.Error(), "margin") && !strings.Contains(err.Error(), " is server.") && !strings.Contains(err.Error(), "can never be loaded") &&
		!strings.Contains(err.Error(), "require_key") && !strings.Contains(err.Error(), "before the model is unloaded") {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

// The revision is that of what a file says, not of how: the order of keys, the spelling of values, and whether the host's own part has them make
// no difference. What View shows is a file that says the same.
func TestTwoWaysToSayTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	rapid.Check(t, func(t *rapid.T) {
		values := someValues(t)
		one, _ := file(t, values)
		c := accepted(t, path, one)
		if c == nil {
			return
		}
		other, _ := file(t, values)
		d := accepted(t, path, other)
		if d == nil || d.Revision() != c.Revision() {
			t.Fatalf("%s\nand\n%s\nhave two revisions", one, other)
		}
		shown, err := c.View()
		if err != nil {
			t.Fatal(err)
		}
		again := accepted(t, path, shown.Yaml)
		if again == nil || again.Revision() != c.Revision() || again.Title != c.Title || again.Version != c.Version || again.Log != c.Log {
			t.Fatalf("%s\nis shown as\n%s\nwhich says something else", one, shown.Yaml)
		}
		for name := range c.Models.Declare {
			if r := c.ModelRevision(name); r != d.ModelRevision(name) || r != again.ModelRevision(name) {
				t.Fatalf("%s\n%s has two revisions", one, name)
			}
		}
	})
}

// One wrong value is one problem, which names the key and the line where it is written, also in a host's own part.
func TestAProblemNamesItsKeyAndLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	rapid.Check(t, func(t *rapid.T) {
		values := someValues(t)
		if text, _ := file(t, values); accepted(t, path, text) == nil {
			return
		}
		i := rapid.IntRange(0, len(values)-1).Draw(t, "wrong one")
		wrong := written{slices.Clone(values[i].path), []string{rapid.SampledFrom([]string{"{x: 1}", "[[1]]"}).Draw(t, "wrong value")}}
		if rapid.Bool().Draw(t, "wrong key") {
			wrong.path[len(wrong.path)-1] = unheardOf
			values = append(values, wrong)
		} else {
			values[i] = wrong
		}
		text, places := file(t, values)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path, nil, "")
		var ps Problems
		if !errors.As(err, &ps) {
			t.Fatalf("accepted:\n%s", text)
		}
		key := ""
		for _, name := range wrong.path {
			key = join(key, name)
		}
		line, ok := places[key]
		if !ok {
			key = "hosts.h." + key
			line = places[key]
		}
		if len(ps) != 1 || !strings.HasPrefix(ps[0].String(), fmt.Sprintf("%s:%d:", path, line)) || !strings.HasPrefix(ps[0].Path, key) || ps[0].Expected == "" {
			t.Fatalf("%s is wrong in line %d of\n%s\nwhich is told as\n%v", key, line, text, err)
		}
	})
}
