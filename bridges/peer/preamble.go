package peer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"modelops/messages"
)

const (
	preambleWord = "MODELOPS/1"
	longestLine  = 512
)

var protocolName = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)

// greeting is the first line of a client on the cluster port.
type greeting struct{ protocol, host string }

func (g greeting) String() string { return preambleWord + " " + g.protocol + " " + g.host + "\n" }

func parseGreeting(line string) (g greeting, ok bool) {
	words := strings.Split(line, " ")
	if len(words) != 3 || words[0] != preambleWord || !protocolName.MatchString(words[1]) || !messages.PlainName.MatchString(words[2]) {
		return g, false
	}
	return greeting{protocol: words[1], host: words[2]}, true
}

// strange is why a first line is refused.
func strange(line string) error {
	if word, _, _ := strings.Cut(line, " "); strings.HasPrefix(word, "MODELOPS/") && word != preambleWord {
		return messages.Errorf(messages.FailedPrecondition, "preamble", "the cluster port here speaks %s, and not %.20s", preambleWord, word).WithHint("upgrade the older modelops")
	}
	return messages.NewError(messages.InvalidArgument, "preamble", "this is a cluster port of modelops")
}

// readLine reads a line byte by byte, because what follows it belongs to another protocol.
func readLine(c io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < longestLine {
		if _, err := io.ReadFull(c, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, one[0])
	}
	return "", bufio.ErrTooLong
}

// refusal is the line that refuses a client: it ends with words for a person.
func refusal(e *messages.Error) string {
	text := e.Message
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
	return fmt.Sprintf("NO %s %.400s\n", e.Code, text)
}

// greet sends the preamble and reads the answer; rest is what the other host adds to its OK.
func greet(c net.Conn, g greeting) (rest string, err error) {
	if _, err := io.WriteString(c, g.String()); err != nil {
		return "", err
	}
	line, err := readLine(c)
	if err != nil {
		return "", err
	}
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "OK":
		return rest, nil
	case "NO":
		code, text, _ := strings.Cut(rest, " ")
		return "", messages.NewError(messages.ParseCode(code), "", text)
	}
	return "", messages.NewError(messages.Unavailable, "", "what listens there is no cluster port of modelops")
}
