package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"modelops/messages"
)

var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_-]*)(\.[A-Za-z_][A-Za-z0-9_]*)?(?::([^}]*))?\}`)

// modelWords are filled in when the model's process starts.
var modelWords = []string{"PORT", "MODEL_ID", "PID"}

const maxMacroDepth = 8

// substituted replaces ${VAR:default} and macros in a text. It works on values of the tree and not on the file's
// text: a variable that holds a line break must not be able to add keys. ok is false when the value is unknown.
func (d *decoder) substituted(n *node, path string) (_ *node, ok bool) {
	if n.literal || !strings.Contains(n.text, "${") {
		return n, true
	}
	text, ok := d.expand(n, n.text, path, 0)
	if !ok {
		return nil, false
	}
	c := *n
	c.text = text
	if text != n.text {
		c.quoted = false // "${PORT:1}" must be quoted inside { }, and still is a number
	}
	return &c, true
}

func (d *decoder) expand(n *node, text, path string, depth int) (_ string, ok bool) {
	ok = true
	if depth > maxMacroDepth {
		d.add(n, path, "macros use each other without end", fmt.Sprintf("at most %d inside each other", maxMacroDepth))
		return "", false
	}
	out := reference.ReplaceAllStringFunc(text, func(whole string) string {
		m := reference.FindStringSubmatch(whole)
		val, known := d.lookup(n, m[1], m[2], path, depth)
		switch {
		case known == kept:
			return whole
		case known == found:
			return val
		case known == absent && strings.Contains(whole, ":"):
			return m[3]
		case known == absent && !d.lenient:
			what, would := d.unknownWord(m[1])
			d.add(n, path, what, would)
		}
		d.unknown = d.unknown || d.lenient
		ok = false
		return ""
	})
	if len(out) > maxFile {
		d.add(n, path, "is too long once its macros are filled in", fmt.Sprintf("at most %d bytes", maxFile))
		return "", false
	}
	return out, ok
}

// unknownWord says that a word has no value, and what would be right: in models the nearest macro, or a default.
func (d *decoder) unknownWord(word string) (what, expected string) {
	what, expected = "variable "+word+" is not set and has no default", "${"+word+":default} or the variable"
	if d.recipe != nil {
		if near := messages.Nearest(word, d.recipe); near != "" {
			expected = "${" + near + "} (did you mean it?), or " + expected
		}
		return "there is no parameter " + word + ", and no variable of this name is set", "it under parameters, or " + expected
	}
	if !d.inModel {
		return what, expected
	}
	what = "there is no macro " + word + ", and no variable of this name is set"
	known := slices.Clone(modelWords)
	if d.macros != nil {
		for _, f := range d.macros.fields {
			known = append(known, f.name)
		}
	}
	if near := messages.Nearest(word, known); near != "" {
		return what, "${" + near + "} (did you mean it?), or " + expected
	}
	return what, expected + ", or one of " + strings.Join(known, ", ")
}

type lookup int

const (
	absent  lookup = iota
	found          // here is its text
	kept           // for the runtime
	refused        // a problem was reported
)

func (d *decoder) lookup(n *node, word, dotted, path string, depth int) (string, lookup) {
	if dotted != "" {
		if word == "env" && (d.inModel || d.recipe != nil) {
			return "", kept
		}
		d.add(n, path, "${"+word+dotted+"} is known only to models and recipes", "${"+strings.TrimPrefix(dotted, ".")+"}")
		return "", refused
	}
	if d.recipe != nil {
		if slices.Contains(d.recipe, word) || d.written {
			return "", kept
		}
	} else if d.inModel {
		if slices.Contains(modelWords, word) {
			return "", kept
		}
		if macro := d.macros.get(word); macro != nil && macro.kind == scalar {
			text, ok := d.expand(n, macro.text, path, depth+1)
			if !ok {
				return "", refused
			}
			d.learn(word, text)
			return text, found
		}
	}
	if d.written && d.inModel {
		return "", kept
	}
	if val, ok := d.vars[word]; ok {
		d.learn(word, val)
		return val, found
	}
	return "", absent
}
