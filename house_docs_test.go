package modelops

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	rpcs     = regexp.MustCompile(`(?s)\n  rpc (\w+)\(.*?\n  \}\n`)
	rpcRole  = regexp.MustCompile(`role: (\w+)`)
	rpcNATS  = regexp.MustCompile(`nats: "([^"]+)"`)
	rpcRoute = regexp.MustCompile(`(get|post): "([^"]+)"`)
	inBraces = regexp.MustCompile(`\{[^}]*\}`)
	capitals = regexp.MustCompile(`/[A-Z]+\b`)
)

// People call the operations by docs/api.md, so it names each with the role, the route and the subject of operations.proto.
func TestHouseOperationsAreDocumented(t *testing.T) {
	r := newRule(t, "docs/api.md has one row for each operation of operations.proto, with its role, its HTTP route and its NATS subject: write the row")
	page, err := os.ReadFile("docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	service, err := os.ReadFile("messages/operations.proto")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 7 && strings.HasPrefix(line, "| `") {
			for i := range cells {
				cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
			}
			rows[cells[1]] = cells
		}
	}
	for _, rpc := range rpcs.FindAllStringSubmatch(string(service), -1) {
		r.matched++
		text, name := rpc[0], rpc[1]
		cells, ok := rows[name]
		delete(rows, name)
		if !ok {
			r.broken("%s has no row", name)
			continue
		}
		if role := strings.ToLower(rpcRole.FindStringSubmatch(text)[1]); !strings.HasPrefix(cells[2], role) {
			r.broken("%s: its role is %s", name, role)
		}
		if nats := rpcNATS.FindStringSubmatch(text); nats != nil && !strings.HasPrefix(cells[4], nats[1]) {
			r.broken("%s: its subject is %s", name, nats[1])
		}
		var routes []string
		for _, m := range rpcRoute.FindAllStringSubmatch(text, -1) {
			routes = append(routes, strings.ToUpper(m[1])+" "+inBraces.ReplaceAllString(m[2], "NAME"))
		}
		if got := capitals.ReplaceAllString(cells[3], "/NAME"); len(routes) > 0 && !slices.Contains(routes, got) {
			r.broken("%s: its route is %s", name, strings.Join(routes, " or "))
		}
	}
	for name := range rows {
		r.broken("%s is no operation", name)
	}
	r.atLeast(25)
}
