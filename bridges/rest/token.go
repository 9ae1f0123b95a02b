package rest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
)

const (
	tokenPath   = "/api/token"
	tokenHeader = "X-Modelops-Token"
	tokenCookie = "modelops_page"
)

// tokens let pages of this host write without a key: only a page of the same origin can read the token's answer and set the header. A token
// gives no right: the operation still needs its role. Tokens end with the process.
type tokens struct{ secret []byte }

func newTokens() tokens {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	return tokens{secret}
}

func (t tokens) of(page string) string {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write([]byte(page))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// valid tells whether a request carries the token of its browser's cookie.
func (t tokens) valid(r *http.Request) bool {
	given := r.Header.Get(tokenHeader)
	page, err := r.Cookie(tokenCookie)
	return given != "" && err == nil && len(page.Value) >= 26 && hmac.Equal([]byte(given), []byte(t.of(page.Value)))
}

// token gives a page of this host its token, and the browser the cookie that it belongs to. No page of another origin gets one.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	page := rand.Text()
	if had, err := r.Cookie(tokenCookie); err == nil && len(had.Value) == len(page) {
		page = had.Value // several tabs share it
	}
	http.SetCookie(w, &http.Cookie{Name: tokenCookie, Value: page, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
	writeJSON(w, http.StatusOK, map[string]string{"token": s.tokens.of(page), "header": tokenHeader})
}
