package join

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"modelops/messages"
)

// tokenWord begins every token, with the version of what follows.
const tokenWord = "join1-"

const (
	secretBytes, sumBytes = 16, 4
	longestToken          = 2048
)

// Token admits a host to a cluster.
type Token struct {
	Host      string   // that made it
	Addresses []string // of its cluster port
	CA        [sha256.Size]byte
	Secret    [secretBytes]byte
}

func newToken(host string, ca []byte, addresses []string) (t Token, err error) {
	t = Token{Host: host, Addresses: addresses, CA: sha256.Sum256(ca)}
	_, err = rand.Read(t.Secret[:])
	return t, err
}

// String is the token as one types it. A sum over it finds letters that were lost.
func (t Token) String() string {
	raw := append(t.CA[:], t.Secret[:]...)
	raw = append(raw, strings.Join(append([]string{t.Host}, t.Addresses...), " ")...)
	sum := sha256.Sum256(raw)
	return tokenWord + base64.RawURLEncoding.EncodeToString(append(raw, sum[:sumBytes]...))
}

// ParseToken reads a token.
func ParseToken(text string) (t Token, err error) {
	word, ok := strings.CutPrefix(strings.TrimSpace(text), tokenWord)
	raw, bad := base64.RawURLEncoding.DecodeString(word)
	head := len(t.CA) + len(t.Secret)
	if !ok || bad != nil || len(word) > longestToken || len(raw) < head+sumBytes {
		return t, malformed()
	}
	raw, said := raw[:len(raw)-sumBytes], raw[len(raw)-sumBytes:]
	if sum := sha256.Sum256(raw); !bytes.Equal(sum[:sumBytes], said) {
		return t, malformed()
	}
	copy(t.CA[:], raw)
	copy(t.Secret[:], raw[len(t.CA):])
	words := strings.Split(string(raw[head:]), " ")
	t.Host, t.Addresses = words[0], words[1:]
	if !messages.PlainName.MatchString(t.Host) {
		return t, malformed()
	}
	return t, nil
}

func malformed() error {
	return messages.NewError(messages.InvalidArgument, "--token", "this is no token of a cluster, or a part of it is missing").
		WithHint("copy the whole command that modelops cluster invite prints on a member")
}

// hashOf is how a secret is kept.
func hashOf(secret []byte) string {
	sum := sha256.Sum256(secret)
	return hex.EncodeToString(sum[:])
}
