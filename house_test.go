// The house rules as tests: they read the sources, without a build. A failure names the rule, its reason, and what to do instead.
package modelops

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// source is one Go file of the house.
type source struct {
	path, dir string
	text      string
	file      *ast.File
	set       *token.FileSet
}

func (s source) test() bool      { return strings.HasSuffix(s.path, "_test.go") }
func (s source) generated() bool { return ast.IsGenerated(s.file) }
func (s source) line(n ast.Node) int {
	return s.set.Position(n.Pos()).Line
}

// imports lists the paths of what the file imports.
func (s source) imports() (out []string) {
	for _, i := range s.file.Imports {
		out = append(out, strings.Trim(i.Path.Value, `"`))
	}
	return out
}

// house is every Go file, with comments, read once.
func house(t *testing.T) []source {
	t.Helper()
	out, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("only %d Go files found: the walk is broken", len(out))
	}
	return out
}

var sources = sync.OnceValues(func() (out []source, err error) {
	set := token.NewFileSet()
	err = fs.WalkDir(os.DirFS("."), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || ignored(d.Name())) {
			return fs.SkipDir
		}
		if d.IsDir() || path.Ext(p) != ".go" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(set, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		out = append(out, source{path: p, dir: path.Dir(p), text: string(text), file: f, set: set})
		return nil
	})
	return out, err
})

func ignored(name string) bool { return name == "bin" || name == "build" || name == "node_modules" }

// rule collects what breaks one rule, and demands that the rule looked at something.
type rule struct {
	t       *testing.T
	teach   string
	matched int
}

func newRule(t *testing.T, teach string) *rule { return &rule{t: t, teach: teach} }

func (r *rule) broken(format string, args ...any) {
	r.t.Helper()
	r.t.Errorf(format+"\n    "+r.teach, args...)
}

func (r *rule) atLeast(n int) {
	r.t.Helper()
	if r.matched < n {
		r.t.Errorf("the rule looked at %d things only, expected %d: it matches nothing any more and protects nothing", r.matched, n)
	}
}

// rooms may stand at the top; everything else has a place in one of them.
var rooms = []string{"actors", "bridges", "cmd", "deploy", "docs", "journal", "messages", "testdata"}

func TestHouseHasNoOtherRooms(t *testing.T) {
	r := newRule(t, "Rule: no folder stands outside the rooms. Reason: a reader finds a thing by its room. Instead: put it into "+strings.Join(rooms, ", ")+".")
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch {
		case !e.IsDir() || strings.HasPrefix(e.Name(), ".") || ignored(e.Name()):
		case slices.Contains(rooms, e.Name()):
			r.matched++
		default:
			r.broken("%s/ is no room", e.Name())
		}
	}
	r.atLeast(7)
}

func TestHouseImports(t *testing.T) {
	r := newRule(t, "Rule: messages <- journal, entity <- kinds <- tree; bridges know messages only; cmd wires all. Reason: one way to reach the world, "+
		"and each room can be read alone. Instead: declare a small interface where it is used, and let cmd pass the part in.")
	for _, s := range house(t) {
		for _, i := range s.imports() {
			ours, ok := strings.CutPrefix(i, "modelops/")
			if !ok {
				continue
			}
			r.matched++
			if !mayImport(s, ours) {
				r.broken("%s imports %s", s.path, i)
			}
		}
	}
	r.atLeast(100)
}

// commandLine is what the command line may import: the words of the doors, the journal, and what a few commands run in their own process.
var commandLine = []string{
	"messages", "journal", "bridges/nats", "bridges/config", "bridges/certs", "bridges/access", // clients of the daemon, the past, `config check`, `certs`, `keys add` before the first start
	"bridges/engine", "bridges/trainer", "bridges/process", "actors", // `worker`; `runner`; `logs` of a stopped daemon; `replay`, `state --at` and `simulate`
}

// mayImport is the table of docs/architecture.md: which package imports which.
func mayImport(s source, room string) bool {
	top, rest, _ := strings.Cut(s.dir, "/")
	if room == s.dir {
		return true // an external test of its own package
	}
	switch top {
	case "cmd":
		return s.dir != "cmd/modelops/cli" || s.test() || slices.ContainsFunc(commandLine, func(ours string) bool { return room == ours || strings.HasPrefix(room, ours+"/") })
	case "journal":
		return room == "messages"
	case "bridges":
		neighbour, _, _ := strings.Cut(rest, "/")
		if neighbour == "engine" {
			return strings.HasPrefix(room, "bridges/engine")
		}
		return room == "messages" || room == "bridges/process" || s.dir != "bridges/"+neighbour && room == "bridges/"+neighbour || strings.HasPrefix(room, s.dir+"/")
	case "actors":
		switch {
		case room == "messages":
			return true
		case rest == "entity":
			return s.test() && room == "actors/entity/entitytest"
		case room == "actors/entity", room == "actors/entity/entitytest" && s.test():
			return true
		}
		if rest == "control" && (room == "actors/view" || room == "actors/explain") || rest == "simulator" && (room == "actors/control" || room == clusterRoom) || rest == "cluster/system" && room == clusterRoom {
			return true
		}
		if room == poolRoom {
			return rest == "gateway" || rest == "simulator" || rest == "control"
		}
		return slices.Contains(aboveKinds, rest) && (room == "actors/kinds" || slices.Contains(kinds(), strings.TrimPrefix(room, "actors/")))
	}
	return false // messages, and the root
}

const clusterRoom = "actors/cluster" // no kind: it keeps no journal

// aboveKinds are the rooms of actors that may import every kind. They are no kinds themselves.
var aboveKinds = []string{"tree", "view", "control", "explain", "kinds", "simulator"}

// kinds are the rooms of actors that hold one kind each.
func kinds() (out []string) {
	entries, _ := os.ReadDir("actors")
	for _, e := range entries {
		if e.IsDir() && e.Name() != "entity" && path.Join("actors", e.Name()) != clusterRoom && !slices.Contains(aboveKinds, e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out
}

// guests are the foreign modules and the only places that may know them. The longest prefix decides.
var guests = map[string]string{
	"github.com/asynkron/protoactor-go":    `^actors/(entity|tree|cluster/system)/|^actors/\w+/actor\.go$|^cmd/modelops/`,
	"github.com/nats-io":                   `^journal/|^bridges/(nats|peer)/|^cmd/`,
	"github.com/nats-io/nats.go/jetstream": `^journal/|^cmd/`,
	"github.com/minio/highwayhash":         `^journal/`,
	"github.com/coreos/go-oidc":            `^bridges/access/`,
	"github.com/go-jose/go-jose":           `^bridges/access/.*_test\.go$`,
	"github.com/gpustack/gguf-parser-go":   `^bridges/runtime/`,
	"github.com/NVIDIA/go-nvml":            `^bridges/nvml/`,
	"github.com/goccy/go-yaml":             `^bridges/config/`,
	"github.com/invopop/jsonschema":        `^bridges/config/`,
	"github.com/netresearch/go-cron":       `^messages/schedule\.go$`,
	"github.com/orcaman/concurrent-map":    `^actors/tree/`,
	"github.com/prometheus":                `^bridges/telemetry/|^cmd/.*_test\.go$`,
	"github.com/google/uuid":               `^bridges/(grpc|nats|openai|rest)/|^cmd/`,
	"github.com/spf13":                     `^cmd/`,
	"golang.org/x/term":                    `^cmd/`,
	"golang.org/x/net":                     `^(cmd|bridges/peer)/.*_test\.go$`,
	"golang.org/x/sys":                     `^journal/|^bridges/(process|engine|trainer|cpu)/|^cmd/`,
	"google.golang.org/grpc":               `^messages/|^actors/cluster/system/|^bridges/(grpc|rest)/|^cmd/`,
	"google.golang.org/genproto":           `^messages/|^(bridges/rest|cmd/modelops)/.*_test\.go$`,
	"github.com/grpc-ecosystem":            `^bridges/rest/`,
	"google.golang.org/protobuf":           `^(messages|journal|actors|cmd)/|^bridges/(grpc|rest|nats|peer|forward|telemetry)/|^bridges/\w+/.*_test\.go$`,
	"pgregory.net/rapid":                   `_test\.go$`,
	"go.uber.org/goleak":                   `_test\.go$`,
	"github.com/rogpeppe/go-internal":      `_test\.go$`,
}

func TestHouseGuestsStayInTheirRoom(t *testing.T) {
	r := newRule(t, "Rule: a foreign module comes in through one room and stays there. Reason: it can be replaced there, and its types never become our language. "+
		"Instead: reach it through the room that has it; a new guest gets a line here and in docs/dependencies.md.")
	for _, s := range house(t) {
		for _, i := range s.imports() {
			if first, _, _ := strings.Cut(i, "/"); !strings.Contains(first, ".") {
				continue
			}
			r.matched++
			best := ""
			for guest := range guests {
				if (i == guest || strings.HasPrefix(i, guest+"/")) && len(guest) > len(best) {
					best = guest
				}
			}
			if best == "" || !regexp.MustCompile(guests[best]).MatchString(s.path) {
				r.broken("%s imports %s", s.path, i)
			}
		}
	}
	r.atLeast(150)
}

// poolRoom is the gateway's pure half: it has the state and the decisions, the gateway the locks and the goroutines.
const poolRoom = "actors/gateway/pool"

// pureHome is the folder that holds a kind's state.go and decide.go.
func pureHome(kind string) string {
	if kind == "gateway" {
		return poolRoom
	}
	return path.Join("actors", kind)
}

// pureMachine are the files of actors/entity that every world of a machine shares; pureTable is the table of a cluster's members, which the simulator runs too.
var pureMachine = []string{"actors/entity/machine.go", "actors/entity/settle.go", "actors/entity/fold.go"}
var pureTable = []string{"table.go", "member.go", "seat.go", "beat.go", "view.go", "notes.go"}

// impure are the files of a kind that may touch something, beside those named PART_effects.go. All others of its files are pure.
var impure = map[string]string{
	"doc.go": "", "effects.go": "", "actor.go": "",
	"model/errands.go":    "does what effects.go owes to sleepers and further workers",
	"gateway/gateway.go":  "the hot path passes no mailbox: locks and timers",
	"gateway/routes.go":   "route table behind an atomic pointer",
	"gateway/infer.go":    "runs requests at workers",
	"gateway/cancel.go":   "ends requests that wait or run",
	"gateway/record.go":   "the hot path again: what is remembered of it",
	"gateway/show.go":     "reads the pools under their locks",
	"gateway/bulkhead.go": "counts that all pools change",
	"gateway/drain.go":    "waits for requests to end",
	"gateway/seek.go":     "asks the placer in a goroutine",
	"gateway/sweep.go":    "a ticker",
	"gateway/locked.go":   "a pool's lock, and the channels of waiting requests",
	"gateway/trial.go":    "counts what callers' goroutines report",
	"gateway/health.go":   "reads the pools under their locks",
}

var (
	notInPure     = regexp.MustCompile(`^(os|net|io|sync|syscall|unsafe|runtime|context|math/rand|crypto/rand|log)(/|$)|protoactor`)
	clockAndTimer = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
)

func TestHousePureFilesArePure(t *testing.T) {
	r := newRule(t, "Rule: a kind's files are pure but for effects.go and actor.go: no clock, goroutine, channel, I/O or chance. Reason: replay must give what life gave. "+
		"Instead: take time and ids from entity.Stamp, and let an owed effect do the work.")
	for _, s := range house(t) {
		kind, inKind := strings.CutPrefix(s.dir, "actors/")
		base := path.Base(s.path)
		_, allowed := impure[base]
		_, allowedHere := impure[kind+"/"+base]
		if !inKind || !slices.Contains(kinds(), kind) && s.dir != poolRoom && !slices.Contains(pureMachine, s.path) && !(s.dir == clusterRoom && slices.Contains(pureTable, base)) || s.test() || allowed || allowedHere || strings.HasSuffix(base, "_effects.go") {
			continue
		}
		r.matched++
		for _, i := range s.imports() {
			if notInPure.MatchString(i) {
				r.broken("%s imports %s", s.path, i)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if what := impurity(n); what != "" {
				r.broken("%s:%d has %s", s.path, s.line(n), what)
			}
			return true
		})
	}
	r.atLeast(12)
}

func impurity(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a goroutine"
	case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
		return "a channel"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "a channel"
		}
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clockAndTimer, n.Sel.Name) {
			return "time." + n.Sel.Name
		}
	}
	return ""
}

func TestHouseEveryKindHasItsFiles(t *testing.T) {
	r := newRule(t, "Rule: every kind has doc.go, state.go, decide.go, effects.go, a short actor.go, and stories in testdata/<kind>. Reason: a reader of one kind "+
		"knows all. Instead: add the file, even when it has little to say.")
	for _, kind := range kinds() {
		r.matched++
		for _, name := range []string{"doc.go", "state.go", "decide.go", "effects.go", "actor.go"} {
			room := path.Join("actors", kind)
			if name == "state.go" || name == "decide.go" {
				room = pureHome(kind)
			}
			b, err := os.ReadFile(path.Join(room, name))
			if err != nil {
				r.broken("%s has no %s", room, name)
			}
			if n := strings.Count(string(b), "\n"); name == "actor.go" && n > 40 {
				r.broken("actors/%s/actor.go has %d lines: it holds decisions that belong elsewhere", kind, n)
			}
		}
		if stories, _ := fs.Glob(os.DirFS("testdata"), kind+"/*.txt"); len(stories) == 0 {
			r.broken("testdata/%s holds no story", kind)
		}
	}
	r.atLeast(5)
}
