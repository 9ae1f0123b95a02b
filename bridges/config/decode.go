package config

import (
	"reflect"
	"strconv"
	"strings"

	"modelops/messages"
)

// A decoder fills a Config from nodes. It goes on after a mistake, so that all of them are reported.
type decoder struct {
	vars     map[string]string
	macros   *node    // texts by name, raw
	lenient  bool     // another host's view: its variables are unknown here and don't count
	written  bool     // ${VAR} stays in the words of a model; macros are filled in
	unknown  bool     // a lenient decode met such a variable, so the view is not whole
	inModel  bool     // the model's words ${PORT} and the macros are known
	recipe   []string // the words that a recipe's start knows; nil outside of recipes
	origins  map[string]origin
	secrets  []string        // texts that must not be shown
	failed   map[string]bool // key paths that have a problem, and nothing more can be said of
	problems Problems
}

func (d *decoder) add(n *node, path, what, expected string) {
	if d.failed == nil {
		d.failed = map[string]bool{}
	}
	d.failed[path] = true
	if n.kind == scalar && secretPlace.MatchString(path) {
		what = "is " + hidden
	}
	if n.path != "" {
		path = n.path
	}
	d.problems = append(d.problems, n.at.problem(path, what, expected))
}

// value sets v from n. Absent and null values leave the default that v holds.
func (d *decoder) value(n *node, v reflect.Value, path string, r rule) {
	if n == nil || n.isNull() {
		return
	}
	t := v.Type()
	switch {
	case t == durationType || t.Kind() <= reflect.Float64 || t.Kind() == reflect.String:
		d.leaf(n, v, path, r)
	case t.Kind() == reflect.Pointer:
		fresh := reflect.New(t.Elem())
		d.value(n, fresh.Elem(), path, r)
		v.Set(fresh)
	case t.Kind() == reflect.Slice:
		d.list(n, v, path, r)
	case n.kind != mapping:
		d.add(n, path, "is "+n.found(), expectation(t, r))
	case t.Kind() == reflect.Map:
		d.entries(n, v, path)
	default:
		d.section(n, v, path)
	}
}

func (d *decoder) section(n *node, v reflect.Value, path string) {
	t := v.Type()
	if t == reflect.TypeFor[Recipe]() {
		d.recipe = wordsOfRecipe(n, v.Interface().(Recipe))
		defer func() { d.recipe = nil }()
	}
	if t == reflect.TypeFor[Model]() {
		outer := d.inModel
		d.inModel = true
		defer func() { d.inModel = outer }()
	}
	given := map[string]string{}
	for _, f := range n.fields {
		if path == "" && strings.HasPrefix(f.name, "x-") {
			continue
		}
		sf, ok := fieldNamed(t, f.name)
		if !ok {
			d.unknownKey(f, n, t, path)
			continue
		}
		key := sf.Tag.Get("yaml")
		if other, twice := given[key]; twice {
			d.problems = append(d.problems, f.at.problem(f.written(n), "says the same as "+other, "one of the two"))
			continue
		}
		given[key] = f.name
		d.value(f.val, v.FieldByIndex(sf.Index), join(path, key), ruleOf(sf.Tag))
	}
	for _, sf := range fieldsOf(t) {
		if key := sf.Tag.Get("yaml"); ruleOf(sf.Tag).required && given[key] == "" {
			d.add(n, path, key+" is missing", expectation(sf.Type, ruleOf(sf.Tag)))
		}
	}
}

func (d *decoder) entries(n *node, v reflect.Value, path string) {
	t := v.Type()
	m := reflect.MakeMap(t)
	for _, k := range v.MapKeys() { // what is there by default stays beside what is named
		m.SetMapIndex(k, v.MapIndex(k))
	}
	texts := t.Elem().Kind() == reflect.String
	outer := d.inModel
	d.inModel = d.inModel || texts
	defer func() { d.inModel = outer }()
	for _, f := range n.fields {
		at := join(path, f.name)
		if what := messages.BadName(f.name); what != "" {
			d.problems = append(d.problems, f.at.problem(f.written(n), what, messages.GoodName))
			continue
		}
		val := reflect.New(t.Elem()).Elem()
		if given := m.MapIndex(reflect.ValueOf(f.name)); given.IsValid() {
			val.Set(given)
		} else {
			d.fresh(val)
		}
		d.value(f.val, val, at, rule{})
		m.SetMapIndex(reflect.ValueOf(f.name), val)
		d.origins[at] = f.at
	}
	d.origins[path] = n.at
	if m.Len() == 0 { // an empty section is no section: the two must have one revision
		m = reflect.Zero(t)
	}
	v.Set(m)
}

func (d *decoder) list(n *node, v reflect.Value, path string, r rule) {
	t := v.Type()
	items := n.items
	switch {
	case n.kind == list:
	case n.kind == scalar && n.literal && t.Elem().Kind() == reflect.String:
		items = commas(n)
	case n.kind == scalar && r.single:
		items = []*node{n}
	default:
		d.add(n, path, "is "+n.found(), expectation(t, r))
		return
	}
	out := reflect.MakeSlice(t, 0, len(items))
	for i, item := range items {
		val := reflect.New(t.Elem()).Elem()
		d.fresh(val)
		if item.isNull() {
			d.add(item, index(path, i), "is empty", expectation(t.Elem(), rule{}))
			continue
		}
		d.value(item, val, index(path, i), rule{})
		d.origins[index(path, i)] = item.at
		out = reflect.Append(out, val)
	}
	if out.Len() == 0 {
		out = reflect.Zero(t)
	}
	v.Set(out)
	d.origins[path] = n.at
}

func (d *decoder) fresh(v reflect.Value) {
	if p, ok := v.Addr().Interface().(defaulter); ok {
		p.setDefaults()
	}
}

// commas is the short form of a list of texts in a variable.
func commas(n *node) []*node {
	var items []*node
	for part := range strings.SplitSeq(n.text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			items = append(items, &node{text: part, quoted: true, literal: true, at: n.at})
		}
	}
	return items
}

// found says in words what was written.
func (n *node) found() string {
	switch {
	case n.kind != scalar:
		return n.kind.String()
	case n.quoted:
		return "the text " + strconv.Quote(clip(n.text))
	}
	return strconv.Quote(clip(n.text))
}

// clip keeps an error to a line.
func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}
