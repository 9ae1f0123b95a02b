package openai

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"modelops/messages"
)

// hop headers belong to one connection.
var hop = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true, "Proxy-Authorization": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// withheld headers are not passed to the engine. Keys and cookies of the caller are meant for us. An idempotency key would
// make net/http repeat a request that an engine may have begun. The last four are set again.
var withheld = map[string]bool{
	"Authorization": true, "X-Api-Key": true, "Api-Key": true, "Cookie": true,
	// Nor what an authenticating proxy says of the caller, or a stranger in its name.
	"X-Forwarded-User": true, "X-Forwarded-Groups": true, "X-Forwarded-Email": true, "X-Forwarded-Preferred-Username": true, "X-Forwarded-Access-Token": true,
	"X-Auth-Request-User": true, "X-Auth-Request-Groups": true, "X-Auth-Request-Email": true, "X-Auth-Request-Access-Token": true,
	// Nor what makes some engines take another method or path than the one that was allowed.
	"X-Http-Method-Override": true, "X-Http-Method": true, "X-Method-Override": true, "X-Original-Url": true, "X-Rewrite-Url": true, "X-Original-Method": true,
	"Idempotency-Key": true, "X-Idempotency-Key": true, "Expect": true, "Origin": true, "Referer": true,
	"X-Request-Timeout": true, "Content-Length": true, "Content-Type": true, "Content-Encoding": true, "X-Request-Id": true,
}

// requestHeader is what the engine gets to see of the client's headers.
func requestHeader(in http.Header, id string, grant *messages.Grant, x *exchange) http.Header {
	out := make(http.Header, len(in)+4)
	named := namedIn(in["Connection"])
	var own []string
	if x.api.withheld != nil {
		own = x.api.withheld()
	}
	for k, v := range in {
		if !hop[k] && !withheld[k] && !named[k] && !strings.HasPrefix(k, ours) && !slices.Contains(own, k) {
			out[k] = v
		}
	}
	if _, ok := out["User-Agent"]; !ok {
		out["User-Agent"] = []string{""} // else net/http names itself
	}
	for _, v := range in["Te"] {
		if strings.Contains(strings.ToLower(v), "trailers") {
			out["Te"] = []string{"trailers"}
		}
	}
	// A body that was found to be JSON is JSON, whatever the client called it.
	if x.q.contentType != "" {
		out["Content-Type"] = []string{x.q.contentType}
	}
	out["X-Request-Id"] = []string{id}
	if grant.APIKey != "" {
		out["Authorization"] = []string{"Bearer " + grant.APIKey}
		if x.rt.anthropic {
			out["X-Api-Key"] = []string{grant.APIKey}
		}
	} else if x.ownKey() {
		for _, name := range keyHeaders {
			if v, given := in[name]; given {
				out[name] = v
			}
		}
	}
	return out
}

var keyHeaders = []string{"Authorization", "X-Api-Key", "Api-Key"}

// ownKey tells whether the caller brought a key that is none of ours. Where we ask for none, it is meant for the engine.
func (x *exchange) ownKey() bool {
	return x.caller.Anonymous() && slices.ContainsFunc(keyHeaders, func(name string) bool { return x.r.Header.Get(name) != "" })
}

// ofHost are headers of answers that speak for the whole host to a browser, beyond the page that asked: an engine doesn't.
var ofHost = map[string]bool{"Set-Cookie": true, "Set-Cookie2": true, "Service-Worker-Allowed": true, "Clear-Site-Data": true, "Strict-Transport-Security": true, "Alt-Svc": true,
	"Nel": true, "Report-To": true, "Public-Key-Pins": true, "Expect-Ct": true, "Accept-Ch": true, "Critical-Ch": true, "Origin-Agent-Cluster": true, "Set-Login": true}

// ours begins the names of headers by which this host speaks, and pages of this host to it.
const ours = "X-Modelops-"

// ofEngine tells whether a header of an engine's answer is its own to say: not what speaks for the host, nor CORS headers, because this API sets its own.
func ofEngine(name string) bool {
	return !ofHost[name] && name != "X-Request-Id" && !strings.HasPrefix(name, "Access-Control-") && !strings.HasPrefix(name, ours)
}

// copyResponseHeader leaves out what belongs to the engine's connection and what isn't the engine's to say.
func copyResponseHeader(to, from http.Header) {
	named := namedIn(from["Connection"])
	for k, v := range from {
		if hop[k] || named[k] || !ofEngine(k) {
			continue
		}
		to[k] = v
	}
	to["X-Modelops-Source"] = []string{"engine"}
}

// namedIn lists the headers that a Connection header declares to be of this connection only.
func namedIn(connection []string) map[string]bool {
	var named map[string]bool
	for _, line := range connection {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name == "" || strings.EqualFold(name, "keep-alive") || strings.EqualFold(name, "close") {
				continue
			}
			if named == nil {
				named = map[string]bool{}
			}
			named[textproto.CanonicalMIMEHeaderKey(name)] = true
		}
	}
	return named
}

// queueHeaders tell the client how long it waited, in milliseconds, and whose worker answers.
func queueHeaders(h http.Header, grant *messages.Grant) {
	h[messages.HostHeader] = []string{grant.Actor.Host()}
	placeHeaders(h, grant.Position, grant.Expected)
	h[messages.QueueMsHeader] = []string{strconv.FormatInt(grant.Queued.Milliseconds(), 10)}
	if grant.Queued > 0 {
		h["Server-Timing"] = append(h["Server-Timing"], fmt.Sprintf("queue;dur=%.3f", float64(grant.Queued)/float64(time.Millisecond)))
	}
}

// placeHeaders tell where the request stood at its arrival, and how long it was expected to wait, if that was known.
func placeHeaders(h http.Header, position int, expected time.Duration) {
	h[messages.QueuePositionHeader] = []string{strconv.Itoa(position)}
	if position > 0 && expected == 0 {
		return
	}
	h[messages.QueueExpectedMsHeader] = []string{strconv.FormatInt(expected.Milliseconds(), 10)}
}

// requestID keeps the caller's id if it is fit for logs and journals; else it makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 128 {
		return rand.Text()
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return rand.Text()
		}
	}
	return id
}

// timeoutOf reads X-Request-Timeout: seconds ("30", "0.5") or a duration ("500ms"). 0 = none asked for.
func timeoutOf(h http.Header) (time.Duration, *refusal) {
	text := h.Get("X-Request-Timeout")
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d <= 0 {
		return 0, invalid("X-Request-Timeout", fmt.Sprintf("X-Request-Timeout %.40q is no time: write seconds such as 30, or a duration such as 500ms, more than 0", text))
	}
	return d, nil
}
