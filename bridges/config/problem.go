package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is one thing that is wrong with a configuration.
type Problem struct {
	Where    string // file:line:col, or the name of a variable or flag
	Path     string // key path as written, hosts.<name> included; empty when the file as a whole is meant
	What     string // what is wrong
	Expected string // what would be right; may be empty

	line, col int
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Where)
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	b.WriteString(": " + p.What)
	if p.Expected != "" {
		b.WriteString(", expected " + p.Expected)
	}
	return b.String()
}

// maxShown is how many problems an error spells out.
const maxShown = 100

// Problems is everything that is wrong with a configuration, one a line. Nothing may start with any.
type Problems []Problem

func (ps Problems) Error() string {
	var lines []string
	for i, p := range ps {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("and %d more", len(ps)-maxShown))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// sorted puts the file's problems first, in the order of its lines, and drops repetitions: a view per host meets the
// same mistake once a host.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(min(b.line, 1), min(a.line, 1)),
			cmp.Compare(a.line, b.line), cmp.Compare(a.col, b.col),
			strings.Compare(a.String(), b.String()))
	})
	return slices.CompactFunc(ps, func(a, b Problem) bool { return a.String() == b.String() })
}

// An origin is where a value was written.
type origin struct {
	file      string
	line, col int
	variable  string // or a flag; wins over the file
}

func (o origin) String() string {
	switch {
	case o.variable != "":
		return o.variable
	case o.line > 0:
		return fmt.Sprintf("%s:%d:%d", o.file, o.line, o.col)
	case o.file != "":
		return o.file
	}
	return "default"
}

func (o origin) problem(path, what, expected string) Problem {
	p := Problem{Where: o.String(), Path: path, What: what, Expected: expected}
	if o.variable == "" {
		p.line, p.col = o.line, o.col
	}
	return p
}
