package config

import (
	"slices"
	"strconv"
	"strings"
)

type kind int

const (
	scalar kind = iota
	list
	mapping
)

func (k kind) String() string { return [...]string{"a value", "a list", "a section"}[k] }

// A node is a value as it was written, with its place. Nodes are shared (YAML aliases) and so are never changed.
type node struct {
	kind    kind
	text    string  // of a scalar
	quoted  bool    // a scalar that is text whatever it looks like
	literal bool    // came from a variable: no ${VAR} inside, and lists may be written with commas
	fields  []field // of a mapping, in the order of the file
	items   []*node // of a list
	at      origin
	path    string // as written, hosts.<name> included
	size    int    // nodes in it, aliases followed
}

type field struct {
	name string
	at   origin
	val  *node
}

// written is the path of a key as it was written: in a merged section, that of hosts.<name>.
func (f field) written(in *node) string {
	if f.val.path != "" {
		return f.val.path
	}
	return join(in.path, f.name)
}

func (n *node) isNull() bool {
	return n.kind == scalar && !n.quoted && !n.literal && (n.text == "" || n.text == "~" || strings.EqualFold(n.text, "null"))
}

// get is the value under a key, nil when there is none or n is no mapping.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.name == name {
			return f.val
		}
	}
	return nil
}

// at walks down keys.
func (n *node) walk(names ...string) *node {
	for _, name := range names {
		n = n.get(name)
	}
	return n
}

// with is a copy of the mapping in which one key has another value.
func (n *node) with(name string, val *node) *node {
	c := &node{kind: mapping, at: val.at}
	if n != nil && n.kind == mapping {
		*c = *n
		c.fields = slices.Clone(n.fields)
	}
	for i := range c.fields {
		if c.fields[i].name == name {
			c.fields[i].val = val
			return c
		}
	}
	c.fields = append(c.fields, field{name: name, at: val.at, val: val})
	return c
}

// without is a copy of the mapping that lacks a key.
func (n *node) without(name string) *node {
	c := *n
	c.fields = slices.DeleteFunc(slices.Clone(n.fields), func(f field) bool { return f.name == name })
	return &c
}

// merge lays one tree over another: sections are joined key by key, lists and values replaced.
func merge(base, over *node) *node {
	if base == nil || base.kind != mapping || over.kind != mapping {
		return over
	}
	for _, f := range over.fields {
		val := f.val
		if old := base.get(f.name); old != nil {
			if val.isNull() {
				continue
			}
			val = merge(old, val)
		}
		base = base.with(f.name, val)
	}
	return base
}

// join appends a key to a path and quotes what would read as two keys.
func join(path, key string) string {
	if key == "" || strings.ContainsAny(key, ". []\"\n\t") {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
