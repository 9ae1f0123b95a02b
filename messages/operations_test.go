package messages

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Roles rise from infer to admin, and each covers those before it. Nobody covers a role that isn't named, and a peer covers its own only.
func TestRolesCoverThoseBefore(t *testing.T) {
	covers := map[Role][]Role{
		Role_ROLE_UNKNOWN: nil,
		Role_INFER:        {Role_INFER},
		Role_READ:         {Role_INFER, Role_READ},
		Role_OPERATE:      {Role_INFER, Role_READ, Role_OPERATE},
		Role_ADMIN:        {Role_INFER, Role_READ, Role_OPERATE, Role_ADMIN},
		Role_PEER:         {Role_PEER},
	}
	for n := range Role_name {
		has := Role(n)
		allowed, ok := covers[has]
		if !ok {
			t.Errorf("what does %s cover?", has)
		}
		for n := range Role_name {
			needs, want := Role(n), false
			for _, r := range allowed {
				want = want || r == needs
			}
			if got := (Principal{Role: has}).May(needs); got != want {
				t.Errorf("%s may do what needs %s: %t", has, needs, got)
			}
		}
	}
}

// An operation that isn't in the table would have no role, so it must not be mistaken for one.
func TestAMissingOperationPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it was found")
		}
	}()
	mustOperation("Infre")
}

// The page of operations has a row for each, in the table's order, with its role, its HTTP route and its NATS subject.
func TestThePageOfOperations(t *testing.T) {
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([A-Z]\\w+)` \\| (\\w+)[^|]* \\| ([^|]*) \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1)
	if len(rows) != len(operationTable) {
		t.Fatalf("docs/api.md has %d rows, operations.proto %d operations", len(rows), len(operationTable))
	}
	names := regexp.MustCompile(`/[A-Z]+|\[\.[A-Z]+\]|\{[^}]*\}`) // what a name stands for: /NAME, [.NAME], {model_name=**}
	for i, o := range operationTable {
		route, subject := routeOf(o), o.NATS
		if o.NATSName != "" {
			subject += "[.NAME]"
		}
		for at, want := range []string{o.Name, RoleName(o.Role), route, subject} {
			got := rows[i][at+1]
			if at >= 2 {
				got, want = names.ReplaceAllString(got, "*"), "`"+names.ReplaceAllString(want, "*")+"`"
			}
			if none := want == "``" && strings.HasPrefix(got, "–"); !none && got != want {
				t.Errorf("%s: docs/api.md says %s, operations.proto %s", o.Name, got, want)
			}
		}
	}
}

// routeOf is an operation's HTTP method and path; empty when it has none.
func routeOf(o Operation) string {
	m := File_operations_proto.Services().Get(0).Methods().ByName(protoreflect.Name(o.Name))
	rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	switch {
	case rule.GetGet() != "":
		return "GET " + strings.ReplaceAll(rule.GetGet(), "/{", "{")
	case rule.GetPost() != "":
		return "POST " + strings.ReplaceAll(rule.GetPost(), "/{", "{")
	}
	return ""
}
