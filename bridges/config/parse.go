package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

const (
	maxFile  = 1 << 18 // bytes
	maxDepth = 100     // sections and lists inside each other
	maxOpen  = 1000    // brackets open at once, counted in texts too, so more than maxDepth
	maxNodes = 100_000 // aliases followed: a few lines of aliases of aliases can mean billions
)

// A reader turns YAML text into nodes and keeps what is wrong with it.
type reader struct {
	file     string
	variable string // set when the text is the value of a variable
	anchors  map[string]*node
	problems Problems
}

// byteOrderMark is what some editors write before UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

// parse returns nil when the text is empty or can't be read.
func (r *reader) parse(text string) *node {
	text = strings.TrimPrefix(text, byteOrderMark)
	r.anchors = map[string]*node{}
	if !r.readable(text) {
		return nil
	}
	file, err := parseYAML(text)
	if err != nil {
		r.syntax(text, err)
		return nil
	}
	var root *node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.DirectiveType || doc.Body.Type() == ast.CommentType:
		case root != nil:
			r.add(r.at(doc.Body), "", "a second document", "one document in the file (remove the --- above)")
		default:
			root = r.node(doc.Body, "", 0)
		}
	}
	return root
}

// parseYAML contains the library's panics: a configuration must never be able to end the process.
func parseYAML(text string) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("this YAML can't be read (%v)", p)
		}
	}()
	return parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
}

// readable refuses what would exhaust the parser: it recurses once a level, and Go can't recover from a full stack.
func (r *reader) readable(text string) bool {
	at := origin{file: r.file, variable: r.variable}
	if len(text) > maxFile {
		r.add(at, "", fmt.Sprintf("%d bytes", len(text)), fmt.Sprintf("at most %d", maxFile))
		return false
	}
	if what, where := noText(text); what != "" {
		at.line, at.col = place(text, where)
		r.add(at, "", what, "YAML text in UTF-8")
		return false
	}
	open := 0
	for i, line := range strings.Split(text, "\n") {
		open = max(0, open+brackets(line, "[{")-brackets(line, "]}"))
		if nesting(line) > maxDepth || open > maxOpen {
			at.line, at.col = i+1, 1
			r.add(at, "", "too many levels", fmt.Sprintf("at most %d", maxDepth))
			return false
		}
	}
	return true
}

func brackets(line, set string) int {
	n := 0
	for _, b := range []byte(line) {
		if strings.IndexByte(set, b) >= 0 {
			n++
		}
	}
	return n
}

// nesting is the number of levels that a line opens without brackets: "- - - a".
func nesting(line string) int {
	n := 0
	for _, word := range strings.Fields(line) {
		if word != "-" && word != "?" && word != ":" && word[0] != '!' && word[0] != '&' {
			break
		}
		n++
	}
	return n
}

// syntax reports the parser's error. It knows only the first.
func (r *reader) syntax(text string, err error) {
	at := origin{file: r.file, variable: r.variable}
	what := err.Error()
	line := ""
	var ye yaml.Error
	if errors.As(err, &ye) {
		what = ye.GetMessage()
		if tk := ye.GetToken(); tk != nil && tk.Position != nil {
			at.line, at.col = tk.Position.Line, tk.Position.Column
			if lines := strings.Split(text, "\n"); at.line >= 1 && at.line <= len(lines) {
				line = lines[at.line-1]
			}
		}
	}
	expected := ""
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	switch {
	case strings.Contains(indent, "\t"):
		what, expected = "a tab in the indentation", "spaces"
	case strings.Contains(line, "${"):
		expected = `quotes around ${...} inside { } or [ ]: {port: "${X}"}`
	}
	r.add(at, "", what, expected)
}

func (r *reader) at(n ast.Node) origin {
	o := origin{file: r.file, variable: r.variable}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		o.line, o.col = tk.Position.Line, tk.Position.Column
	}
	return o
}

func (r *reader) add(at origin, path, what, expected string) {
	r.problems = append(r.problems, at.problem(path, what, expected))
}
