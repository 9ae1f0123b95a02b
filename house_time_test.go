package modelops

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// shortest is the least bound that a test may put on something that it wants to happen. Load makes a machine slow by factors, and a
// bound that only ends a hung test may be minutes.
const shortest = 30 * time.Second

// meantToPass stands in a comment on the line of a deadline that the test wants to pass.
const meantToPass = "meant to pass"

// measures are the files whose figures are times: they run alone, by `make bench`, `make soak` and `make flood`.
var measures = regexp.MustCompile(`/(bench|soak)\w*_test\.go$|^house`)

func TestHouseTestsOutlastLoad(t *testing.T) {
	r := newRule(t, "Rule: no test outside testing/synctest bounds real work by less than "+shortest.String()+", and none demands that it took less. Reason: a busy machine outruns "+
		"any such clock, and the test fails for nothing. Instead: wait for the thing itself with a bound of minutes (hangLimit, waitLimit), count what happened instead of "+
		"how long it took, or use virtual time. A deadline that has to pass says so on its line: // "+meantToPass+": why.")
	constants := durations(house(t))
	for _, s := range house(t) {
		if !s.test() || measures.MatchString(s.path) {
			continue
		}
		spoken := spokenLines(s)
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil || virtual(s, f) {
				continue
			}
			check := clocks{s: s, constants: constants[s.dir], took: map[string]bool{}}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if pauses(n) {
					return false
				}
				what := check.look(n)
				if what == "" {
					return true
				}
				r.matched++
				if check.short && !spoken[s.line(n)] {
					r.broken("%s:%d %s", s.path, s.line(n), what)
				}
				return true
			})
		}
	}
	r.atLeast(30)
}

// pauses says that a call only lets time pass: due(time.Now().Add(d)).
func pauses(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	name, ok := call.Fun.(*ast.Ident)
	return ok && name.Name == "due"
}

// virtual says that time doesn't pass for real: in the bubble of a test, and in what a file with such tests gives them.
func virtual(s source, f *ast.FuncDecl) bool {
	if !slices.Contains(s.imports(), "testing/synctest") {
		return false
	}
	bubble := !strings.HasPrefix(f.Name.Name, "Test")
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && called(sel, "synctest", "Test", "Wait") {
			bubble = true
		}
		return !bubble
	})
	return bubble
}

// spokenLines are the lines with the comment that allows a short deadline, and those right below such a comment.
func spokenLines(s source) map[int]bool {
	out := map[int]bool{}
	for _, g := range s.file.Comments {
		if strings.Contains(g.Text(), meantToPass) {
			out[s.line(g)] = true
			out[s.set.Position(g.End()).Line+1] = true
		}
	}
	return out
}

// clocks finds bounds of real time in one function.
type clocks struct {
	s         source
	constants map[string]time.Duration
	took      map[string]bool // names of measured times
	short     bool            // what was found last is too short
}

// bounders are calls that end a wait; the last argument that is a duration is the bound.
var bounders = []string{"WithTimeout", "WithTimeoutCause", "NewTimer", "NextMsg", "Request", "RequestMsg", "ReadyForConnections", "FlushTimeout", "WithDefaultTimeout",
	"until", "heard", "awaitExit", "await", "eventually"}

// look says what a node bounds, and leaves in short whether that is too little.
func (c *clocks) look(n ast.Node) string {
	c.short = false
	switch n := n.(type) {
	case *ast.CommClause:
		return c.chosen(n)
	case *ast.CallExpr:
		return c.call(n)
	case *ast.AssignStmt:
		c.remember(n)
	case *ast.BinaryExpr:
		return c.compared(n)
	}
	return ""
}

// chosen: case <-time.After(d).
func (c *clocks) chosen(n *ast.CommClause) string {
	var receive ast.Expr
	switch s := n.Comm.(type) {
	case *ast.ExprStmt:
		receive = s.X
	case *ast.AssignStmt:
		receive = s.Rhs[0]
	}
	u, ok := receive.(*ast.UnaryExpr)
	if !ok {
		return ""
	}
	if call, ok := u.X.(*ast.CallExpr); ok && c.is(call.Fun, "time", "After") {
		return c.bound(call.Args[0], "waits at most")
	}
	return ""
}

func (c *clocks) call(n *ast.CallExpr) string {
	name := ""
	switch f := n.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	if name == "Add" && len(n.Args) == 1 { // time.Now().Add(d)
		if sel, ok := n.Fun.(*ast.SelectorExpr); ok {
			if now, ok := sel.X.(*ast.CallExpr); ok && c.is(now.Fun, "time", "Now") {
				return c.bound(n.Args[0], "ends in")
			}
		}
	}
	if !slices.Contains(bounders, name) {
		return ""
	}
	for i := len(n.Args) - 1; i >= 0; i-- {
		if what := c.bound(n.Args[i], name+" waits at most"); what != "" {
			return what
		}
	}
	return ""
}

// remember notes what holds a measured time: took := time.Since(began).
func (c *clocks) remember(n *ast.AssignStmt) {
	for i, right := range n.Rhs {
		call, ok := right.(*ast.CallExpr)
		if name, named := n.Lhs[min(i, len(n.Lhs)-1)].(*ast.Ident); ok && named && c.is(call.Fun, "time", "Since") {
			c.took[name.Name] = true
		}
	}
}

// compared: took > d, or a.took > d.
func (c *clocks) compared(n *ast.BinaryExpr) string {
	if n.Op != token.GTR && n.Op != token.GEQ {
		return ""
	}
	switch x := n.X.(type) {
	case *ast.Ident:
		if !c.took[x.Name] {
			return ""
		}
	case *ast.SelectorExpr:
		if x.Sel.Name != "took" {
			return ""
		}
	case *ast.CallExpr:
		if !c.is(x.Fun, "time", "Since") {
			return ""
		}
	default:
		return ""
	}
	return c.bound(n.Y, "demands that it took at most")
}

func (c *clocks) is(f ast.Expr, pkg, name string) bool {
	sel, ok := f.(*ast.SelectorExpr)
	return ok && called(sel, pkg, name)
}

func (c *clocks) bound(e ast.Expr, what string) string {
	d, ok := value(e, c.constants)
	if !ok || d <= 0 {
		return ""
	}
	c.short = d < shortest
	return what + " " + d.String()
}

// durations are the constants and local names of each folder that are a time.
func durations(all []source) map[string]map[string]time.Duration {
	out := map[string]map[string]time.Duration{}
	for _, s := range all {
		if out[s.dir] == nil {
			out[s.dir] = map[string]time.Duration{}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				for i, name := range v.Names {
					if i < len(v.Values) {
						if d, ok := value(v.Values[i], out[s.dir]); ok {
							out[s.dir][name.Name] = d
						}
					}
				}
			}
			return true
		})
	}
	return out
}

var units = map[string]time.Duration{"Nanosecond": 1, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}

// value reckons a duration that is written down: 10*time.Second, waitLimit, 2*waitLimit + time.Minute.
func value(e ast.Expr, constants map[string]time.Duration) (time.Duration, bool) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return value(e.X, constants)
	case *ast.Ident:
		d, ok := constants[e.Name]
		return d, ok
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		d, known := units[e.Sel.Name]
		return d, ok && known && x.Name == "time"
	case *ast.BinaryExpr:
		return reckoned(e, constants)
	}
	return 0, false
}

func reckoned(e *ast.BinaryExpr, constants map[string]time.Duration) (time.Duration, bool) {
	if e.Op == token.MUL {
		for _, pair := range [][2]ast.Expr{{e.X, e.Y}, {e.Y, e.X}} {
			lit, ok := pair[0].(*ast.BasicLit)
			if !ok {
				continue
			}
			n, err := strconv.ParseFloat(lit.Value, 64)
			d, known := value(pair[1], constants)
			return time.Duration(n * float64(d)), err == nil && known
		}
	}
	x, okX := value(e.X, constants)
	y, okY := value(e.Y, constants)
	if e.Op == token.ADD {
		return x + y, okX && okY
	}
	return 0, false
}
