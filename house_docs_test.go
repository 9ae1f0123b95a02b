package modelops

import (
	"go/ast"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// elsewhere are names on our pages that others declare, or that stand for a name. Former names are only in the change log, which isn't read.
var elsewhere = map[string]string{
	"rank.go": "style: an example", "rawnode.go": "etcd's raft", "error.go": "wtf", "filestore.go": "NATS", "PART_effects.go": "any part's effects",
	"startWorker":    "style: an example",
	"testdata/*.txt": "etcd's raft", "cmd/wtfd": "wtf", "OutOfMemoryError": "torch", "ReverseProxy": "net/http/httputil", "JetStream": "NATS",
}

// names are what the Go files declare.
type names struct {
	all     map[string]bool            // every identifier that is declared at the top of a file, every field and every method
	in      map[string]map[string]bool // by the name of a package
	members map[string]map[string]bool // fields and methods, by the name of a type
	files   []string
}

func declaredNames(t *testing.T) names {
	n := names{all: map[string]bool{}, in: map[string]map[string]bool{}, members: map[string]map[string]bool{}}
	for _, s := range house(t) {
		if s.dir == "." {
			continue // a name of this test is none of the house, and modelops is a package of protobuf
		}
		for _, d := range s.file.Decls {
			n.declare(s.file.Name.Name, d)
		}
	}
	err := fs.WalkDir(os.DirFS("."), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (ignored(d.Name()) || d.Name() == ".git") {
			return fs.SkipDir
		}
		n.files = append(n.files, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n names) declare(pkg string, d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		n.add(pkg, receiver(d), d.Name.Name)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, name := range s.Names {
					n.add(pkg, "", name.Name)
				}
			case *ast.TypeSpec:
				n.add(pkg, "", s.Name.Name)
				n.addFields(pkg, s.Name.Name, s.Type)
			}
		}
	}
}

func (n names) addFields(pkg, of string, t ast.Expr) {
	var fields *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		fields = t.Fields
	case *ast.InterfaceType:
		fields = t.Methods
	default:
		return
	}
	for _, f := range fields.List {
		for _, name := range f.Names {
			n.add(pkg, of, name.Name)
		}
	}
}

func (n names) add(pkg, of, name string) {
	n.all[name] = true
	put := func(m map[string]map[string]bool, key string) {
		if m[key] == nil {
			m[key] = map[string]bool{}
		}
		m[key][name] = true
	}
	put(n.in, strings.TrimSuffix(pkg, "_test"))
	if of != "" {
		put(n.members, of)
	}
}

// receiver is the type that a method belongs to; empty for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	t := f.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

var (
	codeSpan  = regexp.MustCompile("`([^`\n]+)`")
	codeBlock = regexp.MustCompile("(?s)```.*?```")
	fileName  = regexp.MustCompile(`^[\w./*-]+\.(go|proto|md|gen)$`)
	placeName = regexp.MustCompile(`^(actors|bridges|cmd|journal|messages|docs|testdata|deploy|\.ci)/[\w./*-]+$`)
	dotted    = regexp.MustCompile(`^([A-Za-z]\w*)\.([A-Z]\w*)\b`)
	twoWords  = regexp.MustCompile(`^([A-Z][a-z0-9]+[A-Z]\w*)\b`)
	eventName = regexp.MustCompile(`^(host|gpu|model|arbiter)\.[a-z]+_[a-z_]+$`)
)

// missing says what is wrong with a name on a page; empty when it is there, or when it isn't a name that this test knows the form of.
// An event is known from the lock of the journal's schema.
func (n names) missing(name, events string) string {
	if elsewhere[name] != "" {
		return ""
	}
	if fileName.MatchString(name) || placeName.MatchString(name) {
		for _, p := range n.files {
			if ok, _ := path.Match(name, p); ok || strings.HasSuffix(p, "/"+strings.TrimSuffix(name, "/")) {
				return ""
			}
			if ok, _ := path.Match(name, path.Base(p)); ok {
				return ""
			}
		}
		return "there is no such file"
	}
	if eventName.MatchString(name) {
		if !strings.Contains(events, "event "+name+" version") {
			return "there is no such event"
		}
		return ""
	}
	if m := dotted.FindStringSubmatch(name); m != nil {
		switch in, of := n.in[m[1]], n.members[m[1]]; {
		case in != nil && !in[m[2]]:
			return "package " + m[1] + " declares no " + m[2]
		case in == nil && of != nil && !of[m[2]]:
			return "type " + m[1] + " has no " + m[2]
		}
		return ""
	}
	if m := twoWords.FindStringSubmatch(name); m != nil && elsewhere[m[1]] == "" && !n.all[m[1]] && !strings.Contains(name, "-") {
		return "nothing declares it"
	}
	return ""
}

// A page that names what is gone sends its reader away. What stands in backticks and looks like a file, an event or an identifier exists.
func TestHousePagesNameWhatExists(t *testing.T) {
	r := newRule(t, "Rule: files, events and identifiers that a page names in backticks exist. Reason: a page that names what is gone isn't believed, "+
		"and rightly. Instead: write the present name; a name that others declare goes into elsewhere.")
	events, err := os.ReadFile("messages/testdata/journal.lock")
	if err != nil {
		t.Fatal(err)
	}
	n := declaredNames(t)
	n.files = append(n.files, newcomersFiles(t)...)
	pages, _ := fs.Glob(os.DirFS("."), "docs/*.md")
	for _, page := range append(pages, "README.md") {
		if page == "docs/CHANGELOG.md" {
			continue
		}
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := codeBlock.ReplaceAllStringFunc(string(b), func(block string) string { return strings.Repeat("\n", strings.Count(block, "\n")) })
		for i, line := range strings.Split(text, "\n") {
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				r.matched++
				if what := n.missing(m[1], string(events)); what != "" {
					r.broken("%s:%d names `%s`: %s", page, i+1, m[1], what)
				}
			}
		}
	}
	r.atLeast(500)
}

var fileInComment = regexp.MustCompile(`[\w./-]*\w\.(go|proto|md)\b`)

// A comment that sends its reader to a file names one that exists.
func TestHouseCommentsNameFilesThatExist(t *testing.T) {
	r := newRule(t, "Rule: files that a comment names exist. Reason: its reader looks for them in vain. Instead: write the file's present name, or say the thing itself.")
	n := declaredNames(t)
	for _, s := range house(t) {
		if s.generated() || path.Base(s.path) == "house_docs_test.go" {
			continue
		}
		for _, c := range s.file.Comments {
			for _, name := range fileInComment.FindAllString(c.Text(), -1) {
				r.matched++
				if what := n.missing(path.Base(name), ""); what != "" {
					r.broken("%s:%d names %s: %s", s.path, s.line(c), name, what)
				}
			}
		}
	}
	r.atLeast(30)
}

// inComment are the names in a package comment that can be told from words: files, and what stands behind the name of a package or type.
var inComment = regexp.MustCompile(`\b(\w+\.go|[A-Za-z]\w*\.[A-Z]\w+)\b`)

// A package comment names files and declarations that exist.
func TestHousePackageCommentsNameWhatExists(t *testing.T) {
	r := newRule(t, "Rule: files and declarations that a doc.go names exist. Reason: a comment that names what is gone misleads. Instead: write the present name.")
	n := declaredNames(t)
	for _, s := range house(t) {
		if path.Base(s.path) != "doc.go" || s.file.Doc == nil {
			continue
		}
		for _, name := range inComment.FindAllString(s.file.Doc.Text(), -1) {
			r.matched++
			what := n.missing(name, "")
			if strings.HasSuffix(name, ".go") && !slices.Contains(n.files, path.Join(s.dir, name)) {
				what = "there is no such file beside it"
			}
			if what != "" {
				r.broken("%s names %s: %s", s.path, name, what)
			}
		}
	}
	r.atLeast(20)
}

func TestHouseNamesAreFound(t *testing.T) {
	n := declaredNames(t)
	const events = "event model.ready_now version 1 = X"
	for name, missing := range map[string]bool{
		"journal.Read": false, "journal.Forget": true, "entity.Machine": false, "Stamp.Readings": false, "Stamp.Wishes": true, "time.Now": false,
		"PlacementGranted": false, "PlacementGranted{placement}": false, "PlaceModelsSoon": true, "actors/entity/shell.go": false, "actors/entity/gone.go": true,
		"pool/decide.go": false, "bridges/openai/batch*.go": false, "gone.go": true, "model.ready_now": false, "model.gone_now": true, "modelops why": false,
		"X-Api-Key": false, "Host": false, "cmd/modelops/e2e": false, "cmd/gone": true,
	} {
		if got := n.missing(name, events); got == "" == missing {
			t.Errorf("%s: %q", name, got)
		}
	}
}
