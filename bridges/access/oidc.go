package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"modelops/messages"
)

// Tokens are the bearer tokens of an issuer that are accepted; the zero value accepts none.
type Tokens struct {
	Issuer, Audience     string
	NameClaim, RoleClaim string
	Roles                map[string]messages.Role
}

const (
	// skew is how far the issuer's clock may be from ours.
	skew = time.Minute
	// askTime bounds a question to the issuer, and restTime how soon one that failed is repeated: requests come faster than an issuer comes back.
	askTime  = 5 * time.Second
	restTime = time.Second
	// A token that names an unknown key makes us ask the issuer for its keys, and strangers can make such tokens.
	keyBurst, keyEvery = 5, 2 * time.Second
	answerBytes        = 1 << 20
)

// isToken tells whether a key has the form of a signed JSON web token.
func isToken(key string) bool {
	return strings.HasPrefix(key, "eyJ") && strings.Count(key, ".") == 2
}

// issuer verifies tokens. It asks the issuer at the first token, and for its keys when a token names one that isn't known.
type issuer struct {
	tokens Tokens
	client *http.Client
	asked  *thrifty // the client's

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil until the issuer has answered
	failed   error
	failedAt time.Time
}

// newIssuer is nil when no token is accepted.
func newIssuer(t Tokens) *issuer {
	if t.Issuer == "" {
		return nil
	}
	asked := &thrifty{next: http.DefaultTransport}
	return &issuer{tokens: t, asked: asked, client: &http.Client{Timeout: askTime, Transport: asked}}
}

// accepts tells whether the issuer follows these rules already: its keys are kept then.
func (i *issuer) accepts(t Tokens) bool {
	if i == nil {
		return t.Issuer == ""
	}
	is := i.tokens
	return is.Issuer == t.Issuer && is.Audience == t.Audience && is.NameClaim == t.NameClaim && is.RoleClaim == t.RoleClaim && maps.Equal(is.Roles, t.Roles)
}

// unanswered is where a verification notes that it failed for want of the issuer's keys.
type unanswered struct{ why error }

type unansweredKey struct{}

// principal is whom a token names. A token that is wrong is Unauthenticated; one that can't be judged now is Unavailable.
func (i *issuer) principal(ctx context.Context, token, class string, now time.Time) (messages.Principal, error) {
	verifier, err := i.known()
	if err != nil {
		return messages.Principal{}, i.unknowable(err)
	}
	note := &unanswered{}
	t, err := verifier.Verify(context.WithValue(ctx, unansweredKey{}, note), token)
	switch expired := new(oidc.TokenExpiredError); {
	case err == nil && now.After(t.Expiry.Add(skew)), errors.As(err, &expired):
		return messages.Principal{}, refused("the token has expired").WithHint("get a new one from the issuer")
	case err != nil && note.why != nil:
		return messages.Principal{}, i.unknowable(note.why)
	case err != nil: // what it says of the token isn't told: it may be anybody's
		return messages.Principal{}, refused("the token is not one that this host accepts").WithHint("it must be signed by the issuer of auth.oidc, for its audience").WithCause(err)
	}
	claims := map[string]any{}
	if err := t.Claims(&claims); err != nil {
		return messages.Principal{}, refused("the token's claims can't be read").WithCause(err)
	}
	sum := sha256.Sum256([]byte(t.Issuer + "\x00" + t.Subject))
	return messages.Principal{Name: nameIn(claims, i.tokens.NameClaim, t.Subject), Class: class, Fingerprint: hex.EncodeToString(sum[:])[:12],
		Role: highest(textsIn(claims, i.tokens.RoleClaim), i.tokens.Roles), Until: t.Expiry}, nil
}

func (i *issuer) unknowable(why error) error {
	return messages.Errorf(messages.Unavailable, "auth.oidc.issuer", "%s can't be asked whether the token is good", i.tokens.Issuer).
		WithRetry(restTime).WithHint("is the issuer up, and can this host reach it?").WithCause(why)
}

// known is the verifier, once the issuer has said where its keys are.
func (i *issuer) known() (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verifier != nil {
		return i.verifier, nil
	}
	if i.failed != nil && time.Since(i.failedAt) < restTime {
		return nil, i.failed
	}
	ctx := oidc.ClientContext(context.Background(), i.client) // the keys are asked for with it later, when this request is over
	p, err := oidc.NewProvider(ctx, i.tokens.Issuer)
	var said struct {
		Keys string   `json:"jwks_uri"`
		Algs []string `json:"id_token_signing_alg_values_supported"`
	}
	if err == nil {
		err = p.Claims(&said)
	}
	if err != nil {
		i.failed, i.failedAt = err, time.Now()
		return nil, err
	}
	keys := noting{oidc.NewRemoteKeySet(ctx, said.Keys), &i.asked.begun}
	i.verifier = oidc.NewVerifier(i.tokens.Issuer, keys, &oidc.Config{ClientID: i.tokens.Audience, SupportedSigningAlgs: signed(said.Algs),
		Now: func() time.Time { return time.Now().Add(-skew) }}) // go-oidc has no leeway for the expiry, and 5 minutes for the beginning
	return i.verifier, nil
}

// signed are the algorithms of signatures that only the issuer can make. A secret that is shared, and none at all, prove nothing.
func signed(said []string) (out []string) {
	for _, a := range said {
		switch a {
		case oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA:
			out = append(out, a)
		}
	}
	return out
}

// noting tells a key that can't be fetched from a signature that is wrong.
type noting struct {
	oidc.KeySet
	begun *atomic.Int64 // questions to the issuer
}

// joinTries and joinPause bound how long a token waits for the end of a question that began before it.
const joinTries, joinPause = 10, 10 * time.Millisecond

// VerifySignature implements oidc.KeySet. The set shares one question among all who need its answer, even one that is just ending: its answer may be older
// than the key that signed this token. So a signature that fails without a question of its own is looked at again.
func (n noting) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	before := n.begun.Load()
	payload, err := n.KeySet.VerifySignature(ctx, jwt)
	for try := 0; err != nil && n.begun.Load() == before && try < joinTries && ctx.Err() == nil; try++ {
		select {
		case <-ctx.Done():
		case <-time.After(joinPause):
		}
		payload, err = n.KeySet.VerifySignature(ctx, jwt)
	}
	if asked := new(url.Error); err != nil && (errors.As(err, &asked) || strings.HasPrefix(err.Error(), "fetching keys")) {
		if note, ok := ctx.Value(unansweredKey{}).(*unanswered); ok {
			note.why = err
		}
	}
	return payload, err
}

// thrifty asks the issuer only so often: past that, the latest answer stands. An answer that isn't one is an error.
type thrifty struct {
	next  http.RoundTripper
	begun atomic.Int64

	mu     sync.Mutex
	latest map[string][]byte
	left   float64
	since  time.Time
}

// RoundTrip implements http.RoundTripper.
func (t *thrifty) RoundTrip(r *http.Request) (*http.Response, error) {
	t.begun.Add(1)
	at := r.URL.String()
	if body, ok := t.spared(at); ok {
		return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	err = errors.Join(err, resp.Body.Close())
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %s", r.URL.Host, resp.Status)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.latest == nil {
		t.latest = map[string][]byte{}
	}
	t.latest[at] = body
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

// spared is the latest answer of an address, when it was asked too often.
func (t *thrifty) spared(at string) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.since.IsZero() {
		t.left = keyBurst
	} else {
		t.left = min(keyBurst, t.left+now.Sub(t.since).Seconds()/keyEvery.Seconds())
	}
	t.since = now
	if body, ok := t.latest[at]; ok && t.left < 1 {
		return body, true
	}
	t.left = max(0, t.left-1)
	return nil, false
}

// nameIn is the claim that names the caller, or the subject, which every token has.
func nameIn(claims map[string]any, claim, subject string) string {
	if said := textsIn(claims, claim); len(said) == 1 && said[0] != "" {
		return said[0]
	}
	return subject
}

// textsIn are the texts of a claim. A claim of the whole name wins over one inside an object.
func textsIn(claims map[string]any, claim string) []string {
	value, ok := claims[claim]
	for rest := claim; !ok; {
		head, tail, dotted := strings.Cut(rest, ".")
		inner, object := claims[head].(map[string]any)
		if !dotted || !object {
			break
		}
		claims, rest = inner, tail
		value, ok = claims[rest]
	}
	switch v := value.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		var out []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
