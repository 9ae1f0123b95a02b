package journal

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Signed presents a key by signing the server's nonce with it. Whoever answers at the address learns nothing that would let it use the key, so
// a program that took the port of a stopped daemon can't become the operator.
func Signed(key string) (nats.Option, error) {
	pair, err := pairOf(key)
	if err != nil {
		return nil, err
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, err
	}
	return nats.Nkey(public, pair.Sign), nil
}

// pairOf derives the signing keys from a key.
func pairOf(key string) (nkeys.KeyPair, error) {
	seed := sha256.Sum256([]byte("modelops nats " + key))
	return nkeys.FromRawSeed(nkeys.PrefixByteUser, seed[:])
}

// provesKey tells whether a signature of nonce was made with key.
func provesKey(key, public, signature string, nonce []byte) bool {
	if key == "" || len(nonce) == 0 {
		return false
	}
	pair, err := pairOf(key)
	if err != nil {
		return false
	}
	known, err := pair.PublicKey()
	if err != nil || subtle.ConstantTimeCompare([]byte(known), []byte(public)) != 1 {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		if sig, err = base64.StdEncoding.DecodeString(signature); err != nil {
			return false
		}
	}
	return pair.Verify(nonce, sig) == nil
}
