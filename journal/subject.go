package journal

import (
	"fmt"
	"strconv"
	"strings"

	"modelops/messages"
)

const (
	streamName   = "JOURNAL"
	bucketName   = "SNAPSHOTS"
	bucketStream = "KV_" + bucketName
	root         = "journal"
)

// hostSubjects are the subjects of one host's decisions.
func hostSubjects(host string) string { return root + "." + token(host) + ".>" }

// subjectOf is where an actor's decisions lie: journal.<host>.<kind>.<id>.
func subjectOf(host string, a messages.ActorID) string {
	return root + "." + token(host) + "." + token(a.Kind) + "." + token(a.ID)
}

// longestSubject bounds a subject, in bytes. A name of 256 bytes of which none stands for itself fits. A line of NATS's protocol holds the subject
// twice at most, and a server ends the connection that sends it a longer one than MaxControlLine: the journal's own, which all actors share.
const longestSubject = maxControlLine * 3 / 8

// actorOf is the inverse of subjectOf.
func actorOf(subject string) (host string, a messages.ActorID, err error) {
	parts := strings.Split(subject, ".")
	if len(parts) != 4 || parts[0] != root {
		return "", a, fmt.Errorf("%q is no subject of a journal", subject)
	}
	var text [3]string
	for i, p := range parts[1:] {
		if text[i], err = untoken(p); err != nil {
			return "", a, err
		}
	}
	return text[0], messages.ActorID{Kind: text[1], ID: text[2]}, nil
}

// token writes any text as one token that subjects and KV keys allow. Letters, digits, - and _ stand for themselves, any other byte
// is =XX, and the empty text is a lone =, which no other text yields.
func token(s string) string {
	if s == "" {
		return "="
	}
	plain := true
	for i := range len(s) {
		plain = plain && isPlain(s[i])
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if isPlain(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		fmt.Fprintf(&b, "=%02X", s[i])
	}
	return b.String()
}

func isPlain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// untoken is strict: a token that token would not have written is an error, so that no two subjects name one actor.
func untoken(t string) (string, error) {
	if t == "=" {
		return "", nil
	}
	if !strings.Contains(t, "=") && token(t) == t {
		return t, nil
	}
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		if t[i] != '=' {
			b.WriteByte(t[i])
			continue
		}
		if i+2 >= len(t) {
			return "", fmt.Errorf("token %q ends inside an escape", t)
		}
		n, err := strconv.ParseUint(t[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("token %q holds a bad escape", t)
		}
		b.WriteByte(byte(n))
		i += 2
	}
	if out := b.String(); token(out) == t {
		return out, nil
	}
	return "", fmt.Errorf("token %q is not in its one right form", t)
}
