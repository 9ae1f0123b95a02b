package rest

import (
	"net/http"
	"net/url"

	"modelops/messages"
)

// foreign says why a request can't have been meant for us; nil when it can. Programs send no Origin; browsers send it with
// every write from another site, and can't be made to leave it out.
func foreign(r *http.Request) *messages.Error {
	if !isThisMachine(r.Host) {
		return messages.Errorf(messages.PermissionDenied, "Host", "%.100q is not this machine", r.Host).
			WithHint("use http://127.0.0.1 or http://localhost")
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil // they change nothing, and a foreign page can't read the answer
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			return messages.NewError(messages.PermissionDenied, "Origin", "a page of another site may not write here")
		}
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || !isThisMachine(u.Host) {
		return messages.Errorf(messages.PermissionDenied, "Origin", "a page of %.100q may not write here", origin)
	}
	return nil
}
