package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// node converts one value. What can't be converted is reported and becomes an absent value, so that the rest of the
// file is still checked.
func (r *reader) node(n ast.Node, path string, depth int) *node {
	out := r.convert(n, path, depth)
	out.measure()
	if out.size > maxNodes {
		r.add(out.at, path, "too many values once aliases are followed", fmt.Sprintf("at most %d", maxNodes))
		return &node{at: out.at, path: path, size: 1}
	}
	return out
}

func (n *node) measure() {
	n.size = 1
	for _, f := range n.fields {
		n.size += f.val.size
	}
	for _, item := range n.items {
		n.size += item.size
	}
}

func (r *reader) convert(n ast.Node, path string, depth int) *node {
	out := &node{at: origin{file: r.file, variable: r.variable}, path: path}
	if n == nil {
		return out
	}
	out.at = r.at(n)
	if depth > maxDepth {
		r.add(out.at, path, "too many levels", fmt.Sprintf("at most %d", maxDepth))
		return out
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		r.mapping(out, n, depth)
	case *ast.MappingValueNode:
		r.mapping(out, n, depth)
	case *ast.SequenceNode:
		out.kind = list
		for i, item := range n.Values {
			out.items = append(out.items, r.node(item, index(path, i), depth+1))
		}
	case *ast.AnchorNode:
		out = r.node(n.Value, path, depth+1)
		r.anchors[name(n.Name)] = out
	case *ast.AliasNode:
		return r.alias(n, out)
	case *ast.TagNode:
		return r.tagged(n, out, depth)
	case *ast.LiteralNode:
		out.text, out.quoted = n.Value.Value, true
	case *ast.StringNode:
		out.text, out.quoted = n.Value, isQuoted(n)
	case *ast.NullNode:
	case ast.ScalarNode:
		out.text = strings.TrimSpace(n.GetToken().Value)
	default:
		r.add(out.at, path, "this YAML has no meaning here", "a value, a list or a section")
	}
	return out
}

func (r *reader) mapping(out *node, n ast.MapNode, depth int) {
	out.kind = mapping
	var merged []*node
	first := map[string]origin{}
	for it := n.MapRange(); it.Next(); {
		key := it.Key()
		at := r.at(key)
		if key.IsMergeKey() {
			merged = append(merged, r.node(it.Value(), out.path, depth+1))
			continue
		}
		k := r.key(key)
		val := r.node(it.Value(), join(out.path, k), depth+1)
		if before, twice := first[k]; twice {
			r.add(at, join(out.path, k), fmt.Sprintf("the key stands here a second time (first in line %d)", before.line), "it once")
			continue
		}
		first[k] = at
		out.fields = append(out.fields, field{name: k, at: at, val: val})
		if len(out.fields) == 1 {
			out.at = at
		}
	}
	for _, m := range merged {
		r.mergeKey(out, m)
	}
}

// mergeKey adds what "<<: *anchor" brings and the section doesn't say itself.
func (r *reader) mergeKey(out, from *node) {
	if from.kind == list {
		for _, item := range from.items {
			r.mergeKey(out, item)
		}
		return
	}
	if from.kind != mapping {
		r.add(from.at, join(out.path, "<<"), "merges "+from.kind.String(), "an alias of a section")
		return
	}
	for _, f := range from.fields {
		if out.get(f.name) == nil {
			out.fields = append(out.fields, f)
		}
	}
}

func (r *reader) key(k ast.MapKeyNode) string {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value
	case *ast.NullNode:
		return "null"
	}
	if tk := k.GetToken(); tk != nil {
		return tk.Value
	}
	return ""
}

func (r *reader) alias(n *ast.AliasNode, out *node) *node {
	if known, ok := r.anchors[name(n.Value)]; ok {
		return known
	}
	r.add(out.at, out.path, fmt.Sprintf("alias *%s has no anchor above it", name(n.Value)), "an anchor &"+name(n.Value))
	return out
}

func (r *reader) tagged(n *ast.TagNode, out *node, depth int) *node {
	tag := n.Start.Value
	if n.Value == nil {
		return out
	}
	val := *r.node(n.Value, out.path, depth+1)
	switch tag {
	case "!!str":
		val.quoted = true
	case "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
	default:
		r.add(out.at, out.path, "tag "+tag+" is unknown", "no tag")
	}
	return &val
}

func isQuoted(n *ast.StringNode) bool {
	tk := n.GetToken()
	return tk != nil && (tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType)
}

func name(n ast.Node) string {
	if n == nil || n.GetToken() == nil {
		return ""
	}
	return n.GetToken().Value
}
