package process

import (
	"strings"

	"modelops/messages"
)

// Macros are the words ${NAME} that a command, its arguments and its environment may hold, with their values.
type Macros struct {
	Values map[string]string
	Env    Environment // of ${env.NAME}
	// Known lists the names for people, in the hint of an error.
	Known string
}

// Expand puts values in place of ${NAME} and ${env.NAME}. What a value holds is never expanded again.
func (m Macros) Expand(s string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", messages.NewError(messages.InvalidArgument, "", "${"+rest+" has no closing brace")
		}
		value, err := m.value(name)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		s = after
	}
}

func (m Macros) value(name string) (string, error) {
	if variable, ok := strings.CutPrefix(name, "env."); ok {
		if v, ok := m.Env[variable]; ok {
			return v, nil
		}
		return "", messages.NewError(messages.InvalidArgument, "", "${env."+variable+"}: the variable "+variable+" is not set").
			WithHint("set it in the environment of modelops")
	}
	if v, ok := m.Values[name]; ok {
		return v, nil
	}
	return "", messages.NewError(messages.InvalidArgument, "", "${"+name+"} means nothing here").
		WithHint("known are " + m.Known)
}

// ExpandAll expands each of several words.
func (m Macros) ExpandAll(words []string) ([]string, error) {
	out := make([]string, 0, len(words))
	for _, w := range words {
		v, err := m.Expand(w)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// SplitWords takes a command apart as a shell would, without being one: quotes, backslashes, comments from # at the start
// of a word to the end of its line, and as many lines as wanted. Variables, globs, pipes and redirections mean nothing.
func SplitWords(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	flush := func() {
		if inWord {
			words = append(words, word.String())
			word.Reset()
			inWord = false
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			flush()
		case c == '#' && !inWord:
			for i < len(s) && s[i] != '\n' {
				i++
			}
		case c == '\'' || c == '"':
			end := quoted(s, i, &word)
			if end < 0 {
				return nil, messages.NewError(messages.InvalidArgument, "", "the command has a "+string(c)+" without its partner")
			}
			i, inWord = end, true
		case c == '\\' && lineEnd(s[i+1:]) > 0:
			i += lineEnd(s[i+1:]) // goes on in the next line
			flush()
		case c == '\\' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			inWord = true
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	flush()
	return words, nil
}

// quoted writes what stands between the quote at s[i] and its partner and tells where that is, -1 when there is none.
func quoted(s string, i int, out *strings.Builder) int {
	quote := s[i]
	for i++; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i
		case quote == '"' && s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
		}
		out.WriteByte(s[i])
	}
	return -1
}

// lineEnd is the length of the line end that s begins with.
func lineEnd(s string) int {
	switch {
	case strings.HasPrefix(s, "\r\n"):
		return 2
	case strings.HasPrefix(s, "\n"):
		return 1
	}
	return 0
}
