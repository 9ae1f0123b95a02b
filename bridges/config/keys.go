package config

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"

	"modelops/messages"
)

// Authenticate finds the principal by the key that came with a request. When no key is configured, any key is ignored: clients of OpenAI's
// API always send one.
func (c *Config) Authenticate(_ context.Context, given messages.Credentials) (messages.Principal, error) {
	anonymous := messages.Principal{Class: c.Queue.DefaultClass, Role: messages.Role_ADMIN} // the doors listen on loopback only, and every caller there has every role
	if len(c.Keys) == 0 {
		return anonymous, nil
	}
	if given.Key == "" {
		if c.Server.RequireKey {
			return anonymous, messages.NewError(messages.Unauthenticated, "API key", "this host requires one").
				WithHint("send Authorization: Bearer KEY, or x-api-key: KEY")
		}
		return anonymous, nil
	}
	known, ok := c.KeyOf(given.Key)
	if !ok {
		return anonymous, messages.NewError(messages.Unauthenticated, "API key", "it is not one that this host knows").
			WithHint("check it, or have it added under keys in cluster.yaml")
	}
	return messages.Principal{Name: known.Name, Class: known.Class, Fingerprint: known.Fingerprint(), Role: messages.Role_ADMIN}, nil
}

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
