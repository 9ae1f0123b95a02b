package modelops

import (
	"encoding/json"
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	keyInHint     = regexp.MustCompile(`\b[a-z][a-z_]*(?:\.[a-zA-Z_]+)+`)
	commandInHint = regexp.MustCompile(`\bmodelops ((?:[a-z]+ ?)+)`)
)

// TestHouseHintsNameWhatExists: a person follows a hint at night. A key that a hint names is in the configuration, and a command in the command line.
func TestHouseHintsNameWhatExists(t *testing.T) {
	known, top := configKeys(t)
	commands := commandWords(t)
	var keys, verbs int
	for path, hint := range hintsOfTheTree(t) {
		for _, text := range hint {
			for _, key := range keyInHint.FindAllString(text, -1) {
				if first, _, _ := strings.Cut(key, "."); !top[first] || key == "cluster.yaml" {
					continue // a file, a subject, an event
				}
				if keys++; !known[key] {
					t.Errorf("%s hints at %s, which is no key of the configuration:\n\t%s", path, key, text)
				}
			}
			for _, m := range commandInHint.FindAllStringSubmatch(text, -1) {
				verb, _, _ := strings.Cut(m[1], " ")
				if verbs++; !commands[verb] && !prose[verb] {
					t.Errorf("%s hints at modelops %s, which is no command:\n\t%s", path, verb, text)
				}
			}
		}
	}
	if keys < 20 || verbs < 20 {
		t.Errorf("only %d keys and %d commands were found in hints: the test looks in the wrong place", keys, verbs)
	}
}

// prose are words that follow the program's name in a sentence.
var prose = map[string]bool{"itself": true, "may": true, "needs": true, "runs": true, "was": true, "is": true, "on": true, "has": true, "can": true, "and": true, "as": true, "must": true, "read": true}

// hintsOfTheTree are the texts of hints, by where they stand. A format's verbs stay in them.
func hintsOfTheTree(t *testing.T) map[string][]string {
	out := map[string][]string{}
	for _, f := range house(t) {
		if f.test() || f.generated() {
			continue
		}
		take := func(n ast.Node) {
			ast.Inspect(n, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						at := f.set.Position(lit.Pos()).String()
						out[at] = append(out[at], text)
					}
				}
				return true
			})
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "WithHint" {
					for _, arg := range n.Args {
						take(arg)
					}
				}
			case *ast.KeyValueExpr:
				if id, ok := n.Key.(*ast.Ident); ok && (id.Name == "Hint" || id.Name == "hint" || id.Name == "Expected") {
					take(n.Value)
				}
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if strings.HasSuffix(strings.ToLower(name.Name), "hint") && i < len(n.Values) {
						take(n.Values[i])
					}
				}
			}
			return true
		})
	}
	return out
}

// configKeys are the keys of the schema, each written from the top, and the top ones. The name of a model or a host is left out.
func configKeys(t *testing.T) (known, top map[string]bool) {
	raw, err := os.ReadFile("docs/cluster.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	known, top = map[string]bool{}, map[string]bool{}
	var walk func(node map[string]any, at string, depth int)
	walk = func(node map[string]any, at string, depth int) {
		if ref, ok := node["$ref"].(string); ok {
			defs, _ := schema["$defs"].(map[string]any)
			node, _ = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		if depth > 8 || node == nil {
			return
		}
		props, _ := node["properties"].(map[string]any)
		for name, sub := range props {
			path := strings.TrimPrefix(at+"."+name, ".")
			known[path] = true
			if at == "" {
				top[name] = true
			}
			if s, ok := sub.(map[string]any); ok {
				walk(s, path, depth+1)
			}
		}
		for _, inner := range []string{"items", "additionalProperties"} {
			if s, ok := node[inner].(map[string]any); ok {
				walk(s, at, depth+1)
			}
		}
	}
	walk(schema, "", 0)
	return known, top
}

// commandWords are the verbs of the command line, as its sources declare them.
func commandWords(t *testing.T) map[string]bool {
	out := map[string]bool{}
	use := regexp.MustCompile(`Use:\s+"([a-z-]+)`)
	for _, f := range house(t) {
		if f.dir != "cmd/modelops/cli" || f.test() {
			continue
		}
		for _, m := range use.FindAllStringSubmatch(f.text, -1) {
			out[m[1]] = true
		}
	}
	return out
}
