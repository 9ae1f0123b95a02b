package view

import (
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

func file(model string, bytes uint64, sum string) *messages.ModelFile {
	return &messages.ModelFile{Model: model, Bytes: bytes, Sha256: sum}
}

// Sizes are compared at once, hashes when both are known. A host that has a file goes by its own, one without goes by all others.
func TestFilesAreCompared(t *testing.T) {
	others := &Follower{}
	reports := func(host string, files ...*messages.ModelFile) {
		h := others.of(host)
		h.report, h.at = &messages.Report{Host: host, Files: files}, time.Now()
	}
	own := []*messages.ModelFile{file("same", 5, "aa"), file("size", 5, ""), file("hash", 5, "aa"), file("unread", 5, "aa"), file("mine", 5, "aa")}
	f := Files{Host: "main_pc", Own: func() []*messages.ModelFile { return own }, Others: others}
	reports("pc2", file("same", 5, "aa"), file("size", 6, ""), file("hash", 5, "bb"), file("unread", 5, ""), file("theirs", 5, ""))
	reports("pc3", file("theirs", 7, ""), file("size", 5, ""))
	for _, c := range []struct {
		model, host string
		says        string
	}{
		{"same", "pc2", ""}, {"unread", "pc2", ""}, {"mine", "pc2", ""}, {"unknown", "pc2", ""},
		{"size", "pc2", "model size is another file on main_pc (5 bytes) than on pc2 (6 bytes)"}, {"size", "pc3", ""}, {"size", "main_pc", ""},
		{"hash", "pc2", "model hash is another file on main_pc (5 bytes, sha256 aa) than on pc2 (5 bytes, sha256 bb)"},
		{"theirs", "pc2", "model theirs is another file on pc2 (5 bytes) than on pc3 (7 bytes)"},
		{"theirs", "pc3", "model theirs is another file on pc2 (5 bytes) than on pc3 (7 bytes)"},
	} {
		switch e := f.Apart(c.model, c.host); {
		case c.says == "":
			if e != nil {
				t.Errorf("%s at %s: %v", c.model, c.host, e)
			}
		case e == nil || !strings.HasPrefix(e.Message, c.says) || e.Hint == "" || e.Code != messages.FailedPrecondition:
			t.Errorf("%s at %s: %v", c.model, c.host, e)
		}
	}
	var all []string
	for _, e := range f.All() {
		all = append(all, e.Subject)
	}
	if got := strings.Join(all, " "); got != "hash size theirs" {
		t.Errorf("differ: %s", got)
	}
	if !f.Wanted("unread", 5) || f.Wanted("size", 7) || f.Wanted("mine", 5) {
		t.Error("a hash is worth it when another host has a file of the same size, and only then")
	}
}
