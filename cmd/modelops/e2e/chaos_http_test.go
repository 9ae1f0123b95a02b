//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"modelops/messages"
)

// routes are what the HTTP door has, read from where it is written: a new one is tried without a change here.
type routes struct {
	engine     []string
	operations []routed
}

// routed is a route of an operation.
type routed struct{ operation, method, path string }

func routesOf(t *testing.T) (out routes) {
	t.Helper()
	read := func(file, pattern string) [][]string {
		raw, err := os.ReadFile(filepath.Join(root, file))
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(string(raw), -1)
		if err != nil || len(found) < 20 {
			t.Fatalf("%s: %v, routes %q", file, err, found)
		}
		return found
	}
	for _, m := range read("bridges/openai/route.go", `(?m)^\t"(/[^"]+)":`) {
		out.engine = append(out.engine, m[1])
	}
	operation := ""
	for _, m := range read("messages/operations.proto", `rpc (\w+)|(get|post): "(/[^"]+)"`) {
		if m[1] != "" {
			operation = m[1]
			continue
		}
		out.operations = append(out.operations, routed{operation, strings.ToUpper(m[2]), m[3]})
	}
	out.engine = append(out.engine, "/upstream/light/health", "/upstream/tiny/v1/models", "/upstream/light/", "/upstream//", "/upstream/light/../x", "/upstream/tiny/slots?x=%zz",
		"/v1/engines/light/chat/completions", "/v1/engines/tiny/completions", "/v1/engines/", "/slots/0", "/slots/-1?action=erase", "/v1/models", "/v1/models/light", "/v1/models/%ff", "/models", "/v1/realtime")
	return out
}

// pagePaths are those of people, probes and scrapers, and some that nobody has.
var pagePaths = []string{"/", "/health", "/metrics", "/status", "/v1/health", "/favicon.ico", "/ui", "/api", "/api/", "/why", "/why/", "/why/light", "/why/request/x", "/api/token", "/debug/pprof/", "/robots.txt", "/queue",
	"/events", "/%00%ff", "/../../etc/passwd", "//", "/?", "/" + strings.Repeat("a", 9000), "*", "http://other/health", "/health/../metrics", "/v1/chat/completions?model=%zz", "/status?x=" + strings.Repeat("y", 5000)}

var variable = regexp.MustCompile(`\{[^}]*\}`)

// path spoils a path in one of three cases, and fills its variables.
func (s spoiler) path(of []string) string {
	path := variable.ReplaceAllStringFunc(pick(s, of), func(string) string { return escaped(pick(s, oddTexts)) })
	if s.one(4) {
		path += pick(s, []string{"/", "//", "?", "?model=light", "?model=tiny&model=a", "?limit=-1&after=x", "?after=18446744073709551616", "?actor=%00", "?a[b]=c&%gg", "?" + strings.Repeat("a=b&", 500), "#x"})
	}
	if s.one(10) {
		path = escaped(string(s.spoil([]byte(path))))
	}
	return path
}

// escaped keeps a text inside its line of the head.
func escaped(text string) string {
	text = text[:min(len(text), 3000)]
	return strings.NewReplacer(" ", "%20", "\r", "%0d", "\n", "%0a", "\x00", "%00").Replace(text)
}

func (s spoiler) openAI(r routes) shot {
	body, kind := []byte(pick(s, jsonBodies)), "application/json"
	switch s.chance.IntN(6) {
	case 0:
		body = s.spoil(body)
	case 1:
		kind, body = s.form()
	case 2:
		kind = pick(s, []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=" + strings.Repeat("b", 100), "application/json; charset=\xff", ";;", "audio/wav"})
	}
	method := "POST"
	if s.one(5) {
		method = "GET"
	}
	return s.http(method, s.path(r.engine), kind, body, pick(s, []string{s.key, s.operator}))
}

// form is a form with files, spoiled in half of the cases.
func (s spoiler) form() (kind string, body []byte) {
	body = []byte("--xx\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n" + pick(s, []string{"light", "tiny", "", "nothing", "\xff"}) +
		"\r\n--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\nContent-Type: audio/wav\r\n\r\nabc\r\n--xx--\r\n")
	if s.one(2) {
		body = s.spoil(body)
	}
	return "multipart/form-data; boundary=xx", body
}

func (s spoiler) rest(r routes) shot {
	at := pick(s, r.operations)
	o, _ := messages.OperationNamed(at.operation)
	key := s.operator
	if o.Name == "SendCommand" || s.one(3) {
		key = s.key
	}
	body := []byte{}
	if at.method == "POST" {
		body = s.asJSON(s.message(o.Request(), 0))
	}
	return s.http(at.method, s.path([]string{at.path}), "application/json", body, key)
}

func (s spoiler) pages(routes) shot {
	kind, body := "application/json", []byte{}
	if s.one(3) {
		body = []byte(pick(s, jsonBodies))
	}
	return s.http("GET", s.path(pagePaths), kind, body, pick(s, []string{s.key, s.operator, "wrong", ""}))
}

// http is a request whose head, body or both may be spoiled.
func (s spoiler) http(method, path, kind string, body []byte, key string) shot {
	calm := s.one(2) // only the body is wrong
	if !calm && s.one(8) {
		method = pick(s, []string{"POST", "GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "CONNECT", "TRACE", "PRI", "X"})
	}
	more, whole := "", true
	if !calm {
		more = s.heads()
	}
	if !calm && s.one(5) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body)
		_ = z.Close()
		if body = b.Bytes(); s.one(2) {
			body = s.spoil(body)
		}
		more += "Content-Encoding: " + pick(s, []string{"gzip", "gzip", "GZIP", "gzip, gzip", "deflate", "br", "x", ""}) + "\r\n"
	}
	length := fmt.Sprintf("Content-Length: %d\r\n", len(body))
	if !calm && s.one(8) {
		whole = false
		length = pick(s, []string{"Content-Length: 5\r\n", "Content-Length: 99999999999\r\n", "Content-Length: -1\r\n", "Content-Length: x\r\n", "Content-Length: 1\r\nContent-Length: 2\r\n", "Transfer-Encoding: chunked\r\n",
			"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "Transfer-Encoding: x\r\n", "Expect: 100-continue\r\nContent-Length: 9\r\n"})
	} else if s.one(6) {
		length, body = "Transfer-Encoding: chunked\r\n", []byte(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body))
		if len(body) < 12 {
			whole = false // an empty chunk is the last one
		}
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n%s%sConnection: close\r\n\r\n", method, path, key, kind, more, length)
	if strings.Contains(more, "Upgrade") {
		head, whole = strings.Replace(head, "Connection: close", "Connection: Upgrade", 1), false
	}
	switch {
	case !calm && s.one(10):
		head, whole = string(s.spoil([]byte(head))), false
	case s.one(40):
		return shot{text: s.bytes(2000)}
	}
	return shot{text: append([]byte(head), body...), whole: whole && method != "HEAD" && method != "PRI" && method != "CONNECT"}
}

// heads are further lines of a head.
func (s spoiler) heads() (out string) {
	lines := []string{"Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", "Origin: http://evil.example", "Origin: null", "Host: other",
		"X-Api-Key: x", "X-Modelops-Token: \x01", "X-Request-Id: " + strings.Repeat("r", 5000), "X-Modelops-Timeout: -1", "Range: bytes=9-1", "Accept-Encoding: *;q=x", "Cookie: ;;;=",
		"Traceparent: 00-x", "X-Forwarded-For: 1.2.3.4, x", "Forwarded: for=\"", "bad header", ": empty", "Grpc-Timeout: xS", "Grpc-Metadata-X: y", "Last-Event-ID: x", "Trailer: Authorization", "If-None-Match: \""}
	for s.one(5) {
		out += pick(s, lines) + "\r\n"
	}
	if s.one(50) {
		out += strings.Repeat("X-Many: y\r\n", 500)
	}
	return out
}

// judgeHTTP reads the first answer. The code is for the tally.
func judgeHTTP(said []byte) (code, fault string) {
	in := bufio.NewReader(bytes.NewReader(said))
	resp, err := http.ReadResponse(in, nil)
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(in, nil)
	}
	if err != nil {
		return "none", ""
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	code = strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Modelops-Code")))
	switch {
	case strings.Contains(code, "JOURNAL_"):
		return code, "the journal is blamed"
	case resp.StatusCode == 500 || strings.HasSuffix(code, "INTERNAL") || bytes.Contains(raw, []byte(`"INTERNAL"`)):
		return code, "an internal error"
	case resp.StatusCode > 500 && resp.Header.Get("X-Modelops-Code") == "" && !bytes.Contains(raw, []byte("not now")) && !bytes.HasPrefix(raw, []byte("Unsupported transfer encoding")): // the player's own words, and net/http's
		return code, "a failure without a code"
	case resp.StatusCode >= 400 && resp.StatusCode != http.StatusExpectationFailed && len(bytes.TrimSpace(raw)) == 0 && resp.ContentLength == 0: // net/http's own has no body
		return code, "an error without a word"
	case resp.StatusCode >= 400 && bytes.HasPrefix(raw, []byte("{")):
		var e struct{ Error json.RawMessage }
		if json.Unmarshal(raw, &e) == nil && (string(e.Error) == `""` || bytes.Contains(e.Error, []byte(`"message":""`))) {
			return code, "an error without a message"
		}
	}
	return code, ""
}
