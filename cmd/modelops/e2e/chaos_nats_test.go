//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// nats is a session with a key: a request with a spoiled body, headers or reply subject, or a spoiled protocol.
func (s spoiler) nats() shot {
	o, m, key := s.operation()
	if s.one(3) {
		m = s.message(&messages.InferenceRequest{}, 0)
	}
	connect := fmt.Sprintf("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"protocol\":1,\"auth_token\":%q}\r\n", key)
	body := s.asJSON(m)
	if s.one(6) {
		body, _ = proto.Marshal(m)
	}
	subject, whole := "modelops.v1."+o.NATS, o.NATS != ""
	if o.NATSName != "" && s.one(2) {
		subject += "." + pick(s, []string{"light", "a", "nothing", "%2F", "a.b.c", "%zz", "\xff", "%00", strings.Repeat("x", 2000), "b64.x"})
	}
	switch {
	case s.one(6):
		subject, whole = "modelops.v1.infer"+pick(s, []string{"", ".light", ".tiny", ".nothing"}), true
	case s.one(8):
		whole = false
		subject = pick(s, []string{"modelops.v1.nothing", "modelops.v1.cancel.x", "modelops.v1.>", "modelops.v1.*", "$JS.API.INFO", "$JS.API.STREAM.CREATE.x", "$SYS.REQ.SERVER.PING", "$SRV.PING", "$SRV.INFO.modelops", "_INBOX.x", "..", ">", ""})
	}
	reply := "_INBOX.x"
	if s.one(10) {
		reply, whole = pick(s, []string{"", "modelops.v1.infer", "_INBOX.>", "_INBOX.*", "$SYS.x", "x..y", "\xff", strings.Repeat("r", 3000)}), false
	}
	session := fmt.Sprintf("SUB _INBOX.x 1\r\nPUB %s %s %d\r\n%s\r\nPING\r\n", subject, reply, len(body), body)
	if s.one(3) {
		head := s.natsHead()
		session = fmt.Sprintf("SUB _INBOX.x 1\r\nHPUB %s %s %d %d\r\n%s%s\r\nPING\r\n", subject, reply, len(head), len(head)+len(body), head, body)
	}
	switch {
	case s.one(8):
		return shot{text: append([]byte(connect), s.spoil([]byte(session))...)}
	case s.one(16):
		return shot{text: s.spoil([]byte(connect + session))}
	case s.one(16):
		return shot{text: []byte(connect + pick(s, []string{"PUB modelops.v1.infer _INBOX.x 99999999999\r\n", "PUB x -1\r\n\r\n", "HPUB x 5 3\r\nabc\r\n", "SUB > 1\r\n", "SUB\r\n", "MSG a 1 1\r\nx\r\n", "UNSUB 9 -1\r\n",
			"RS+ a b\r\n", "LS+ x\r\n", "CONNECT {}\r\n", "CONNECT [[[\r\n", "INFO {}\r\n", "+OK\r\n", "-ERR x\r\n", strings.Repeat("P", 5000) + "\r\n", "SUB " + strings.Repeat("a.", 3000) + "x 1\r\n", string(s.bytes(500))}))}
	}
	return shot{text: []byte(connect + session), whole: whole && !strings.ContainsAny(subject, "\xff")}
}

// natsHead are headers of a request, which may be none at all.
func (s spoiler) natsHead() string {
	if s.one(6) {
		return string(s.spoil([]byte("NATS/1.0\r\nModelops-Timeout: 5s\r\n\r\n")))
	}
	out := "NATS/1.0\r\n"
	for range s.chance.IntN(4) {
		out += pick(s, []string{"Modelops-Timeout: 2s", "Modelops-Timeout: -1", "Modelops-Timeout: x", "Modelops-Stream: true", "Modelops-Stream: maybe", "Modelops-Request-Id: x", "Modelops-Request-Id: " + strings.Repeat("r", 3000),
			"Authorization: Bearer wrong", "Authorization: x", "X-Api-Key: \x01", "no colon", ": x", "Nats-Msg-Id: 1", "Nats-Expected-Stream: x", "Status: 503", "A: " + strings.Repeat("v", 5000)}) + "\r\n"
	}
	return out + "\r\n"
}

var natsError = regexp.MustCompile(`Nats-Service-Error: ?([A-Z_]*)`)

func judgeNATS(said []byte) (code, fault string) {
	switch m := natsError.FindSubmatch(said); {
	case m != nil:
		code = string(m[1])
	case bytes.Contains(said, []byte("-ERR")):
		_, e, _ := bytes.Cut(said, []byte("-ERR"))
		e, _, _ = bytes.Cut(e, []byte("\r\n"))
		e, _, _ = bytes.Cut(e, []byte(" for "))
		return "-ERR " + string(e[:min(len(e), 40)]), ""
	case bytes.Contains(said, []byte("MSG _INBOX")):
		code = "OK"
	default:
		code = "none"
	}
	switch {
	case strings.HasPrefix(code, "JOURNAL_"):
		return code, "the journal is blamed"
	case code == "INTERNAL" || bytes.Contains(said, []byte(`"INTERNAL"`)):
		return code, "an internal error"
	case code == "" || code != "OK" && code != "none" && (bytes.Contains(said, []byte(`"message":""`)) || !bytes.Contains(said, []byte(`"message":`))):
		return code, "an error without a message"
	}
	return code, ""
}

func answeredNATS(said, _ []byte) bool {
	i := bytes.Index(said, []byte("MSG _INBOX"))
	return i >= 0 && bytes.HasSuffix(said, []byte("\r\n")) && bytes.Count(said[i:], []byte("\r\n")) > 1 || bytes.Contains(said, []byte("-ERR"))
}
