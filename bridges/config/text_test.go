package config

import (
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

func utf16le(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		b.Write([]byte{byte(u), byte(u >> 8)})
	}
	return b.String()
}

// TestAByteOrderMarkIsReadPast: the keys after it are known, and the places of mistakes don't count it.
func TestAByteOrderMarkIsReadPast(t *testing.T) {
	if c := load(t, "\xef\xbb\xbfhost: me\r\nqueue: {collation: 7s}\r\n", ""); c.Host != "me" || c.Queue.Collation != 7*time.Second {
		t.Errorf("%+v", c)
	}
	if _, err := Load(write(t, "\xef\xbb\xbfhots: me"), nil, ""); err == nil || !strings.Contains(err.Error(), ":1:1: hots: unknown key") {
		t.Error(err)
	}
}

// TestWhatIsNoTextIsOneError: one mistake, with the place of the byte.
func TestWhatIsNoTextIsOneError(t *testing.T) {
	for text, says := range map[string]string{
		"\xff\xfeh\x00":                 ":1:1: text in UTF-16",
		"\xfe\xff\x00h":                 ":1:1: text in UTF-16",
		utf16le("host: me\n"):           ":1:2: text in UTF-16",
		"\x7fELF\x02\x01\x01\xff\xfe":   ":1:1: a control character",
		"\x1f\x8b\x08\x08":              ":1:1: a control character",
		"host: me\ntitle: a\x00b, \xff": ":2:9: a zero byte",
		"host: me\ntitle: caf\xe9\n":    ":2:11: a byte that is not UTF-8",
		"title: é\x01\n":                ":1:9: a control character",
	} {
		_, err := Load(write(t, text), nil, "")
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// TestUnknownMacros: a misspelt macro is told with its place and the one that was meant, in models and in macros.
func TestUnknownMacros(t *testing.T) {
	_, err := Load(write(t, "models:\n  macros: {server: 'run ${servre-args}', server-args: '--port ${PORT}'}\n  declare:\n    a: {cmd: '${srver}'}\n    b: {cmd: 'x ${port}'}\n    c: {cmd: 'x ${zzz} ${PORT}'}\n"), nil, "")
	for _, says := range []string{
		":2:20: models.macros.server: there is no macro servre-args, and no variable of this name is set, expected ${server-args} (did you mean it?)",
		":4:14: models.declare.a.cmd: there is no macro srver, and no variable of this name is set, expected ${server} (did you mean it?)",
		":5:14: models.declare.b.cmd: there is no macro port, and no variable of this name is set, expected ${PORT} (did you mean it?)",
		":6:14: models.declare.c.cmd: there is no macro zzz, and no variable of this name is set, expected ${zzz:default} or the variable, or one of PORT, MODEL_ID, PID, server, server-args",
	} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("no %q in\n%v", says, err)
		}
	}
}
