package access

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"modelops/messages"
)

// Proxy is an authenticating proxy in front of this host. What it says of a caller is believed when it comes from one of its addresses.
type Proxy struct {
	From                   []netip.Prefix
	UserHeader, RoleHeader string
	Roles                  map[string]messages.Role
}

// headers are those that say who the caller is, in their canonical form.
func (p *Proxy) headers() (out []string) {
	for _, name := range []string{p.UserHeader, p.RoleHeader} {
		if len(p.From) > 0 && name != "" {
			out = append(out, http.CanonicalHeaderKey(name))
		}
	}
	return out
}

// covers tells whether a connection comes from the proxy.
func (p *Proxy) covers(peer netip.Addr) bool {
	return peer.IsValid() && slices.ContainsFunc(p.From, func(from netip.Prefix) bool { return from.Contains(peer) })
}

// principal is whom the proxy names. A request that it let through without a name is nobody's: the address is the proxy's, not the caller's.
func (p *Proxy) principal(c messages.Credentials, class string) (messages.Principal, error) {
	user := ""
	if c.Header != nil {
		user = strings.TrimSpace(c.Header.Get(p.UserHeader))
	}
	if user == "" {
		return messages.Principal{}, refused("the proxy in front of this host names no caller")
	}
	// A proxy that adds its header behind the caller's own would let callers name themselves.
	if all, ok := c.Header.(interface{ Values(name string) []string }); ok && (len(all.Values(p.UserHeader)) > 1 || p.RoleHeader != "" && len(all.Values(p.RoleHeader)) > 1) {
		return messages.Principal{}, refused("the proxy in front of this host passes on more than one header that names the caller").
			WithHint("have the proxy replace the headers of auth.proxy, not add to them")
	}
	return messages.Principal{Name: user, Class: class, Role: highest(strings.Split(c.Header.Get(p.RoleHeader), ","), p.Roles)}, nil
}

// highest is the highest role of what was said; ROLE_UNKNOWN when none of it has one.
func highest(said []string, roles map[string]messages.Role) (role messages.Role) {
	for _, s := range said {
		role = max(role, roles[strings.TrimSpace(s)])
	}
	return role
}
