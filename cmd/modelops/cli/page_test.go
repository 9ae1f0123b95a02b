package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The page of operations names only commands and flags that there are.
func TestCommandsOnThePageOfOperations(t *testing.T) {
	page, err := os.ReadFile("../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	cells := regexp.MustCompile("(?m)^\\| `[A-Z]\\w+` \\|.*\\| ([^|]*) \\|$|^\\| (`[a-z][^|]*) \\| [^|]* \\|$").FindAllStringSubmatch(string(page), -1)
	commands := 0
	for _, cell := range cells {
		for _, line := range regexp.MustCompile("`[^`]+`").FindAllString(cell[1]+cell[2], -1) {
			words := strings.Fields(strings.Trim(line, "`"))
			cmd, _, err := newRoot(&cli{}).Find(words)
			if err != nil || !cmd.Runnable() || cmd.CommandPath() != strings.Join(append([]string{"modelops"}, names(words)...), " ") { // the next word names none of the group's
				t.Errorf("docs/api.md: there is no command %s", line)
				continue
			}
			commands++
			for _, word := range words {
				if name, ok := strings.CutPrefix(word, "--"); ok && cmd.Flags().Lookup(name) == nil {
					t.Errorf("docs/api.md: %s has no flag --%s", line, name)
				}
			}
		}
	}
	if commands < 20 {
		t.Errorf("only %d commands were found on the page", commands)
	}
}

// names are the words before the first flag or argument.
func names(words []string) []string {
	for i, word := range words {
		if strings.HasPrefix(word, "-") || strings.ToUpper(word) == word {
			return words[:i]
		}
	}
	return words
}
