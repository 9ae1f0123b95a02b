package rest

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

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

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// isThisMachine says whether a Host header, or the host of an Origin, names this machine in a way that no DNS can change.
func isThisMachine(hostport string) bool {
	host := hostport
	if h, port, err := net.SplitHostPort(hostport); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.EqualFold(host, "localhost") || isLoopback(host)
}
