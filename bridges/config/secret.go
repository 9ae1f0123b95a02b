package config

import (
	"regexp"
	"strings"
)

const (
	hidden     = "[redacted]"
	secretWord = `(?:key|token|secret|passw(?:or)?d|credential)`
)

var (
	secretName = regexp.MustCompile(`(?i)` + secretWord)
	// secretOption is "--api-key x", "--hf-token=x", API_KEY=x and "Bearer x" inside a command, not the words of a text.
	secretOption = regexp.MustCompile(`(?i)(--?[a-z0-9-]*` + secretWord + `[a-z0-9-]*[=\s\\]+|\b[a-z0-9_]*` + secretWord + `[a-z0-9_]*=|\bbearer\s+)("[^"]*"|'[^']*'|[^\s"']+)`)
	secretFlag   = regexp.MustCompile(`(?i)^--?[a-z0-9-]*` + secretWord + `[a-z0-9-]*$`)
	// secretPlace is where a value that has the wrong form may be a caller's key.
	secretPlace = regexp.MustCompile(`^keys(\[\d+\])?$`)
	userInfo    = regexp.MustCompile(`(://)[^/@\s]+@`)
)

// without hides the texts that are known to be secrets.
func without(text string, secrets []string) string {
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, hidden)
	}
	return text
}

// redacted hides also what only looks like a secret.
func redacted(text string, secrets []string) string {
	text = secretOption.ReplaceAllString(without(text, secrets), "${1}"+hidden)
	return userInfo.ReplaceAllString(text, "${1}"+hidden+"@")
}

// redactedList hides also the entry that follows a flag such as --api-key.
func redactedList(items, secrets []string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		if i > 0 && secretFlag.MatchString(items[i-1]) {
			out[i] = hidden
			continue
		}
		if name, _, ok := strings.Cut(item, "="); ok && secretName.MatchString(name) {
			out[i] = name + "=" + hidden
			continue
		}
		out[i] = redacted(item, secrets)
	}
	return out
}

// learn remembers what stood in for ${NAME}, a variable or a macro, if the name says that it is a secret.
func (d *decoder) learn(name, val string) {
	if secretName.MatchString(name) && len(val) >= 4 {
		d.secrets = append(d.secrets, val)
	}
}
