package messages

import (
	"fmt"
	"regexp"
	"strings"
)

// PlainName is what hosts, devices, callers and priority classes may be called: such names are parts of ids, subjects, files and lines. GoodPlainName says
// it in words.
var PlainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// GoodPlainName says what PlainName takes.
const GoodPlainName = "letters, digits, - and _, at most 63, a letter or digit first"

// GoodName says what a model may be called.
const GoodName = "a name of 1 to 256 printable characters without spaces"

// LongestOwner bounds the name of who owns a pin, a hint or a program's lease, in bytes: it is journaled.
const LongestOwner = 256

// LongestIdentity bounds what names an actor within its kind, in bytes: a host's name, a slash, and a model's or a replica's.
const LongestIdentity = 63 + 1 + 256 + 8

// BadName says why a model can't have this name; empty when it can. It is one rule for the configuration and for models that are loaded by
// their file.
func BadName(s string) string {
	if s == "" {
		return "an empty name"
	}
	if len(s) > 256 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\uFFFD' }) {
		return "this name can't be used"
	}
	if strings.HasSuffix(s, "/") {
		return "a name can't end in a slash" // ParseActorID drops it, and the name would be another model's
	}
	if of, is := ReplicaOf(s); is {
		return fmt.Sprintf("names that end in ~ and a number are those of replicas, here of %q", of)
	}
	return ""
}
