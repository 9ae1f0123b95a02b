package config

import (
	"regexp"
	"slices"
	"strings"

	"modelops/messages"
)

const hidden = "[redacted]"

// secretPlace is where a value that has the wrong form may be a caller's key.
var secretPlace = regexp.MustCompile(`^keys(\[\d+\])?$`)

// onlyName is a text that names a variable and tells nothing of its value.
var onlyName = regexp.MustCompile(`^["']?\$\{[A-Za-z_][A-Za-z0-9_.-]*\}["']?$`)

// hiddenUnlessNamed hides a secret, and shows the name of the variable that holds it.
func hiddenUnlessNamed(value string) string {
	if onlyName.MatchString(value) {
		return value
	}
	return hidden
}

// without hides the texts that are known to be secrets.
func without(text string, secrets []string) string {
	// The longest first: a secret that begins another one would leave the other's rest.
	for _, s := range slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return len(b) - len(a) }) {
		text = strings.ReplaceAll(text, s, hidden)
	}
	return text
}

// redacted hides also what only looks like a secret.
func redacted(text string, secrets []string) string {
	return messages.ReplaceSecrets(without(text, secrets), hiddenUnlessNamed)
}

// redactedList hides also the entry that follows a flag such as --api-key.
func redactedList(items, secrets []string) []string {
	known := make([]string, len(items))
	for i, item := range items {
		known[i] = without(item, secrets)
	}
	return messages.ReplaceSecretsIn(known, hiddenUnlessNamed)
}

// learn remembers what stood in for ${NAME}, a variable or a macro, if the name says that it is a secret.
func (d *decoder) learn(name, val string) {
	if messages.SecretName(name) && len(val) >= 4 {
		d.secrets = append(d.secrets, val)
	}
}
