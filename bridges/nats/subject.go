package natsapi

import (
	"fmt"
	"net/url"
	"strings"

	"modelops/messages"
)

// Token writes a name, of a model or a request, so that it can end a subject: dots stay as far as they divide something, and
// what a subject can't hold is percent-encoded. Name is its inverse.
func Token(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		empty := c == '.' && (i == 0 || i == len(name)-1 || name[i-1] == '.') // would make a token of no letters
		if c <= ' ' || c >= 0x7f || c == '*' || c == '>' || c == '%' || empty {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Name reads the rest of a subject back.
func Name(rest string) (string, error) {
	name, err := url.PathUnescape(rest)
	if err != nil {
		return "", messages.Errorf(messages.InvalidArgument, "subject", "%q is not percent-encoded right", rest).
			WithHint("write % as %25")
	}
	return name, nil
}
