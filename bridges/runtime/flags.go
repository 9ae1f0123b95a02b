package runtime

import (
	"slices"
	"strconv"
	"strings"

	"modelops/messages"
)

// flags are the arguments of a model's engine, as its declaration adds them.
type flags []string

// flagsOf are the declared arguments, behind those of a command. A command that can't be taken apart has none: it fails
// when it is started.
func flagsOf(spec *messages.ModelSpec) flags {
	words, _ := splitWords(spec.Cmd)
	return append(words, spec.Args...)
}

// value is the last value of a flag, as the engines read them: "--flag value" or "--flag=value".
func (f flags) value(names ...string) (string, bool) {
	for i := len(f) - 1; i >= 0; i-- {
		name, value, joined := strings.Cut(f[i], "=")
		switch {
		case !slices.Contains(names, name):
		case joined:
			return value, true
		case i+1 < len(f):
			return f[i+1], true
		}
	}
	return "", false
}

// has tells whether a flag is given, with or without a value.
func (f flags) has(names ...string) bool {
	return slices.ContainsFunc(f, func(word string) bool {
		name, _, _ := strings.Cut(word, "=")
		return slices.Contains(names, name)
	})
}

// number is the value of a flag that is a whole number from 0 on.
func (f flags) number(names ...string) (uint64, bool) {
	text, ok := f.value(names...)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 63)
	return n, err == nil
}
