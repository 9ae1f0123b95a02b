package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"

	"modelops/messages"
)

// KeyOf finds the caller whose key this is. The time it takes does not tell how much of a key was right.
func (c *Config) KeyOf(key string) (_ Key, ok bool) {
	sum := sha256.Sum256([]byte(key))
	given := []byte(hex.EncodeToString(sum[:]))
	var caller Key
	for _, k := range c.Keys {
		if subtle.ConstantTimeCompare(given, []byte(k.SHA256)) == 1 {
			caller, ok = k, true
		}
	}
	return caller, ok
}

// Fingerprint names a key without telling it: the first 12 hex digits of its SHA-256.
func (k Key) Fingerprint() string { return k.SHA256[:min(12, len(k.SHA256))] }

// Principal is who sends a request with this key, and until when.
func (k Key) Principal() messages.Principal {
	p := messages.Principal{Name: k.Name, Class: k.Class, Fingerprint: k.Fingerprint()}
	p.Role, _ = messages.ParseRole(k.Role)
	p.Until, _ = messages.ParseEnd(k.Expires)
	if len(k.Models)+len(k.Operations) > 0 {
		p.Scope = &messages.Scope{Models: k.Models, Operations: k.Operations}
	}
	return p
}
