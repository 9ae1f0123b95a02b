package modelops

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// contributing is the page for newcomers. Its numbered lists are edits, which these tests make.
const contributing = "docs/contributing.md"

// edit is one item of a list: what becomes of one file.
type edit struct {
	path string
	lang string // of the block: diff = the file changes; any other = the file is new
	text string
}

var (
	listItem  = regexp.MustCompile("^\\d+\\. `([^`]+)`")
	blockMark = regexp.MustCompile("^   ```(\\w*)$")
)

// sectionOf is the text of a section of the page.
func sectionOf(t *testing.T, section string) string {
	t.Helper()
	page, err := os.ReadFile(contributing)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n## "+section+"\n")
	if !found {
		t.Fatalf("%s has no section %q", contributing, section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

var command = regexp.MustCompile("`((?:make|go) [^`]+)`")

// commandsOf are the commands of a section's paragraph after the list, which begins with "Then".
func commandsOf(t *testing.T, section string) (out []string) {
	t.Helper()
	_, then, _ := strings.Cut(sectionOf(t, section), "\nThen ")
	then, _, _ = strings.Cut(then, "\n\n")
	for _, m := range command.FindAllStringSubmatch(then, -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Fatalf("%q doesn't say which commands come after the edits", section)
	}
	return out
}

// listOf reads the edits of a section of the page.
func listOf(t *testing.T, section string) (out []edit) {
	t.Helper()
	text := sectionOf(t, section)
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		mark := blockMark.FindStringSubmatch(line)
		switch {
		case mark != nil && !inside && len(out) > 0:
			inside, out[len(out)-1].lang = true, mark[1]
		case mark != nil:
			inside = false
		case inside:
			out[len(out)-1].text += strings.TrimPrefix(line, "   ") + "\n"
		default:
			if item := listItem.FindStringSubmatch(line); item != nil {
				out = append(out, edit{path: item[1]})
			}
		}
	}
	return out
}

// apply is the file after the edit. It says what of the edit doesn't fit the file.
func (e edit) apply(before string) (after, wrong string) {
	if e.lang != "diff" {
		return e.text, ""
	}
	for hunk := range strings.SplitSeq(e.text, "@@\n") {
		var old, new strings.Builder
		for line := range strings.Lines(hunk) {
			sign, rest := line[0], line[1:]
			if sign == '\n' {
				sign, rest = ' ', "\n"
			}
			if sign != '+' {
				old.WriteString(rest)
			}
			if sign != '-' {
				new.WriteString(rest)
			}
		}
		if n := strings.Count(before, old.String()); n != 1 {
			return "", fmt.Sprintf("these lines stand in it %d times, not once:\n%s", n, old.String())
		}
		before = strings.Replace(before, old.String(), new.String(), 1)
	}
	return before, ""
}

// lists are the sections that are lists of edits, and how many edits each takes. More edits mean that the house has become harder to extend.
var lists = []struct {
	section string
	edits   int
	after   string // the section whose edits come first
}{
	{"Add a kind", 3, ""},
	{"Add an operation", 3, ""},
	{"Add a runtime", 3, ""},
	{"Add a version of an event", 4, "Add a kind"},
}

// newcomersFiles are the files that the page makes: it names them, and they are in no tree but the copy.
func newcomersFiles(t *testing.T) (out []string) {
	for _, list := range lists {
		for path := range roomOf(t, list.section) {
			out = append(out, path)
		}
		for _, e := range listOf(t, list.section) {
			if e.lang != "diff" {
				out = append(out, e.path)
			}
		}
	}
	return out
}

func TestHouseContributingPageFitsTheTree(t *testing.T) {
	r := newRule(t, "Rule: the lists of "+contributing+" are the edits that a newcomer makes. Reason: a list that no longer fits costs each of them an hour. "+
		"Instead: change the page with the file, or keep the house as easy to extend as it says.")
	for _, list := range lists {
		files := map[string]string{}
		for path, text := range roomOf(t, list.after) {
			files[path] = text
		}
		if list.after != "" {
			tryEdits(t, r, list.after, files)
		}
		if n := tryEdits(t, r, list.section, files); n != list.edits {
			r.broken("%q has %d edits, expected %d", list.section, n, list.edits)
		}
	}
	r.atLeast(12)
}

// tryEdits applies a list to files, which holds what differs from the tree, and counts the edits.
func tryEdits(t *testing.T, r *rule, section string, files map[string]string) (n int) {
	t.Helper()
	for _, e := range listOf(t, section) {
		n++
		r.matched++
		text, changed := files[e.path]
		if b, err := os.ReadFile(e.path); err == nil && !changed {
			text, changed = string(b), true
		}
		if changed != (e.lang == "diff") {
			r.broken("%q: %s is there: %t, and the block is %q", section, e.path, changed, e.lang)
			continue
		}
		after, wrong := e.apply(text)
		if wrong != "" {
			r.broken("%q: %s: %s", section, e.path, wrong)
			continue
		}
		files[e.path] = after
	}
	return n
}

var (
	roomRow    = regexp.MustCompile("(?m)^\\| `([\\w/]+)` \\| [A-Z].*\\. \\|$")
	makeTarget = regexp.MustCompile(`(?m)^make (\w+)`)
)

func TestHouseContributingPageNamesRoomsAndTargets(t *testing.T) {
	r := newRule(t, "Rule: "+contributing+" lists each room with one sentence, and only targets of the Makefile. Reason: it is the first page that a newcomer reads. "+
		"Instead: write the room's row, or the target's new name.")
	page, err := os.ReadFile(contributing)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range roomRow.FindAllStringSubmatch(string(page), -1) {
		listed = append(listed, row[1])
		if st, err := os.Stat(row[1]); err != nil || !st.IsDir() {
			r.broken("%s is listed and is no folder", row[1])
		}
	}
	expected := []string{"actors/entity"}
	for _, room := range append(slices.Clone(aboveKinds), kinds()...) {
		expected = append(expected, path.Join("actors", room))
	}
	for _, room := range rooms {
		if _, err := os.Stat(room); err == nil && room != "actors" {
			expected = append(expected, room)
		}
	}
	for _, room := range expected {
		r.matched++
		// The page's own kind is in the copy in which these edits are made.
		if !slices.Contains(listed, room) && room != "actors/bell" {
			r.broken("%s has no row", room)
		}
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range makeTarget.FindAllStringSubmatch(string(page), -1) {
		r.matched++
		if !strings.Contains(string(makefile), "\n"+target[1]+":") {
			r.broken("make %s is no target", target[1])
		}
	}
	for _, from := range []string{"README.md", "docs/architecture.md"} {
		if b, err := os.ReadFile(from); err != nil || !strings.Contains(string(b), "contributing.md)") {
			r.broken("%s has no link to the page", from)
		}
	}
	r.atLeast(20)
}
