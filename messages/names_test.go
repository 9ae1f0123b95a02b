package messages

import (
	"strings"
	"testing"
)

func TestPlainName(t *testing.T) {
	for _, good := range []string{"a", "main_pc", "PC-2", "2nd", strings.Repeat("x", 63)} {
		if !PlainName.MatchString(good) {
			t.Errorf("%q isn't taken", good)
		}
	}
	for _, bad := range []string{"", "-a", "_a", "a.b", "a b", "a/b", "a\n", "ä", "*", ">", strings.Repeat("x", 64)} {
		if PlainName.MatchString(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestBadName(t *testing.T) {
	for _, good := range []string{"tiny", "org/x:8b.q4", "/models/x", "名前", "-rf", "a.>", strings.Repeat("x", 256)} {
		if what := BadName(good); what != "" {
			t.Errorf("%q: %s", good, what)
		}
		if id, err := ParseActorID(ModelActor("main_pc", good).String()); err != nil || id.Name() != good {
			t.Errorf("%q is read back as %q, %v", good, id.Name(), err)
		}
	}
	for _, bad := range []string{"", "a b", "a\nb", "x/", "a~2", "\ufffd", strings.Repeat("x", 257)} {
		if BadName(bad) == "" {
			t.Errorf("%.20q is taken", bad)
		}
	}
}
