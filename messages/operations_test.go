package messages

import "testing"

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
