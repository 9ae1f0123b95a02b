package join

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"strings"
	"time"

	"modelops/bridges/certs"
	"modelops/messages"
)

const (
	// Protocol is the name of joining on the cluster port.
	Protocol = "join"

	talkTime    = 10 * time.Second
	longestTalk = 256 << 10
)

// request is what the guest says once it knows that the other end is the token's host.
type request struct {
	Secret  []byte `json:"secret"`
	Host    string `json:"host"`
	Version string `json:"version,omitempty"`
	// What this host says to others, and what it understands at least.
	Protocol uint32 `json:"protocol"`
	Oldest   uint32 `json:"oldest"`
	Request  []byte `json:"request"`           // for a certificate: PKCS #10, DER
	Address  string `json:"address,omitempty"` // where it wants to be reached
	Port     int    `json:"port,omitempty"`    // else at the address that it comes from
}

// answer makes a member of the guest, or says why not.
type answer struct {
	Refused     *refusal       `json:"refused,omitempty"`
	Certificate []byte         `json:"certificate,omitempty"` // PEM, as those below
	CA          []byte         `json:"ca,omitempty"`
	CAKey       []byte         `json:"ca_key,omitempty"`
	Members     []certs.Member `json:"members,omitempty"` // the guest too
}

type refusal struct {
	Code    messages.Code `json:"code"`
	Subject string        `json:"subject"`
	Message string        `json:"message"`
	Hint    string        `json:"hint,omitempty"`
}

func (r *refusal) err() error {
	return messages.NewError(r.Code, r.Subject, r.Message).WithHint(r.Hint)
}

// say and hear pass a line of JSON.
func say(c net.Conn, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = c.Write(append(text, '\n'))
	}
	return err
}

func hear(in *bufio.Reader, v any) error {
	text, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

func bounded(c net.Conn) *bufio.Reader { return bufio.NewReader(io.LimitReader(c, longestTalk)) }

// greet says the preamble of the cluster port, which bridges/peer describes.
func greet(c net.Conn, in *bufio.Reader, host string) error {
	if _, err := io.WriteString(c, "MODELOPS/1 "+Protocol+" "+host+"\n"); err != nil {
		return err
	}
	line, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if word == "OK" {
		return nil
	}
	code, text, _ := strings.Cut(rest, " ")
	return messages.NewError(messages.ParseCode(code), "--join", text).WithHint("the other host's modelops may be too old, or have certificates of its own")
}
