package messages

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Principal is the sender of a request.
type Principal struct {
	Name        string // empty = nobody is known: anonymous
	Class       string // priority class; empty = the default one
	Fingerprint string // of the key, never the key; empty without one
	Role        Role   // the highest that it has; ROLE_UNKNOWN = none
	Scope       *Scope // nil = all that the role allows
	// Until is when the principal's key or token ends; zero = it doesn't. A door with long connections ends them then.
	Until time.Time
}

// Anonymous tells that nothing is known of the sender.
func (p Principal) Anonymous() bool { return p.Name == "" && p.Fingerprint == "" }

// Mark tells principals apart where something stays of a request, such as a lease: the fingerprint of the key, or the name that a proxy vouches for;
// empty for those of whom nothing is known.
func (p Principal) Mark() string {
	if p.Fingerprint == "" && p.Name != "" {
		return "user/" + p.Name
	}
	return p.Fingerprint
}

// MarkedBy is the mark that a command of the principal has where the mark of another one refuses it: "-" without one, and none for the role admin, which
// may all.
func (p Principal) MarkedBy() string {
	if p.May(Role_ADMIN) {
		return ""
	}
	return cmp.Or(p.Mark(), "-")
}

// Scope narrows what a role allows.
type Scope struct {
	Models     []string // names, or patterns such as org/*; empty = every model
	Operations []string // names of rpcs; empty = every one that the role allows. Infer covers InferStream
}

// May tells whether the principal's role covers what an operation needs. Roles rise from infer over read and operate to admin; a peer is
// another host and covers nothing of these. Nobody may do what names no role: it would be open to all by mistake.
func (p Principal) May(role Role) bool {
	switch {
	case p.Role == Role_ROLE_UNKNOWN || role == Role_ROLE_UNKNOWN:
		return false
	case p.Role == Role_PEER || role == Role_PEER:
		return p.Role == role
	}
	return p.Role >= role
}

// Allows tells whether the principal may run an operation on a model; empty = on none, or it isn't known yet. It is the one place that decides:
// every door calls it, through Authorize for the operation and again once the model is known. The error is Unauthenticated for a caller without
// a key, because a key can change the answer, and else PermissionDenied.
func (p Principal) Allows(o Operation, model Model) error {
	if !p.May(o.Role) {
		return p.lacks(o)
	}
	if s := p.Scope; s != nil {
		if len(s.Operations) > 0 && !slices.Contains(s.Operations, strings.TrimSuffix(o.Name, "Stream")) {
			return Errorf(PermissionDenied, o.Name, "%s may run only %s", p.who(), strings.Join(s.Operations, ", ")).WithHint("use a key whose operations name it")
		}
		if o.Reach == Reach_WHOLE_HOST && len(s.Models) > 0 {
			return p.beyond(o.Name)
		}
		if model.Name != "" && !s.Has(model) {
			return p.beyond("model " + model.Name)
		}
	}
	return nil
}

// lacks says what a principal's role doesn't cover.
func (p Principal) lacks(o Operation) *Error {
	if p.Anonymous() {
		return Errorf(Unauthenticated, o.Name, "it needs the role %s, and a request without a known key has %s here", RoleName(o.Role), RoleName(p.Role)).
			WithHint("send Authorization: Bearer KEY; data_dir/operator.key holds the operator's key, modelops keys add makes others")
	}
	return Errorf(PermissionDenied, o.Name, "it needs the role %s, %s has %s", RoleName(o.Role), p.who(), RoleName(p.Role)).WithHint("use a key with that role")
}

// beyond says what a principal may use instead of what it asked for.
func (p Principal) beyond(what string) *Error {
	return Errorf(PermissionDenied, what, "%s may use only the models %s", p.who(), strings.Join(p.Scope.Models, ", ")).WithHint("use a key whose models name it")
}

// Owns tells whether the principal may end a request of another one: its own, or with the role operate anybody's.
func (p Principal) Owns(other Principal) bool {
	return p.May(Role_OPERATE) || p.May(Role_INFER) && p.Name == other.Name && p.Fingerprint == other.Fingerprint
}

// Model is a model by its own name, and how other names are resolved now: to a model's own name, or unchanged. nil resolves nothing.
type Model struct {
	Name    string
	Resolve func(name string) string
}

// ModelNamed resolves a name or alias. A replica is the model that it serves.
func ModelNamed(name string, resolve func(name string) string) Model {
	return Model{Name: BaseOf(resolve(name)), Resolve: resolve}
}

// Resolver resolves names by the aliases of models. A model's own name wins over another one's alias.
func Resolver(models []*ModelView) func(name string) string {
	return func(name string) string {
		out := name
		for _, m := range models {
			if m.GetName() == name {
				return name
			}
			if slices.Contains(m.GetSpec().GetAliases(), name) {
				out = m.GetName()
			}
		}
		return out
	}
}

// who names the principal in refusals.
func (p Principal) who() string {
	return "the caller " + cmp.Or(p.Name, p.Fingerprint, "without a key")
}

// Has tells whether a model is in the scope: by its own name, or because the scope names an alias of it. A nil scope has every model.
func (s *Scope) Has(model Model) bool {
	return s == nil || len(s.Models) == 0 || slices.ContainsFunc(s.Models, func(pattern string) bool {
		return fits(pattern, model.Name) || model.Resolve != nil && model.Resolve(pattern) == model.Name
	})
}

// fits compares a name with a pattern whose * stands for any text, slashes too.
func fits(pattern, name string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, head)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return strings.HasSuffix(name, last)
}

// ParseRole reads the role that a key or an anonymous caller may have: infer, read, operate or admin.
func ParseRole(text string) (Role, bool) {
	for _, r := range []Role{Role_INFER, Role_READ, Role_OPERATE, Role_ADMIN} {
		if text == RoleName(r) {
			return r, true
		}
	}
	return Role_ROLE_UNKNOWN, false
}

// ParseEnd reads when something ends: a date, whose last moment counts, in UTC, or a time of RFC 3339. Empty is the zero time, never.
func ParseEnd(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	return time.Parse(time.RFC3339, text)
}

// ParseAddresses reads an address or a range of addresses.
func ParseAddresses(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// CheckOperation refuses a name that no operation has.
func CheckOperation(name string) *Error {
	if _, ok := OperationNamed(name); ok && !strings.HasSuffix(name, "Stream") {
		return nil
	}
	hint := "docs/api.md lists the operations"
	if i := slices.IndexFunc(operationTable, func(o Operation) bool { return strings.EqualFold(o.Name, name) || o.Name == name+"Model" }); i >= 0 {
		hint = "did you mean " + operationTable[i].Name + "? " + hint
	}
	return Errorf(InvalidArgument, "operations", "there is no operation %.100q", name).WithHint(hint)
}

// RoleName is how people write a role.
func RoleName(r Role) string {
	if r == Role_ROLE_UNKNOWN {
		return "none"
	}
	return strings.ToLower(r.String())
}

// Credentials are what a request carries to prove its sender.
type Credentials struct {
	Key string // of the API, or a bearer token; empty when the request has none
	// Peer is the other end of the connection; invalid = not known, which never counts as this machine.
	Peer netip.Addr
	// Header is the request's, for what a proxy in front of us says of the sender; nil = the door has none.
	Header interface{ Get(name string) string }
	Door   string // http when it is empty; grpc, nats
	// By is the caller in whose name the key comes, where its address isn't known; empty = the address says enough.
	By string
}

// CredentialsIn takes the credentials out of a request's header and the address of its connection, such as 127.0.0.1:5123.
func CredentialsIn(header interface{ Get(name string) string }, remote string) Credentials {
	c := Credentials{Key: KeyIn(header.Get("Authorization"), cmp.Or(header.Get("X-Api-Key"), header.Get("Api-Key"))), Header: header}
	if at, err := netip.ParseAddrPort(remote); err == nil {
		c.Peer = at.Addr().Unmap()
	}
	return c
}

// Authenticate finds the principal of credentials. The errors are Unauthenticated, BulkheadRejection for who has sent too many wrong keys, and Unavailable
// when it can't be known now.
type Authenticate func(context.Context, Credentials) (Principal, error)

// Authorize finds the principal of credentials and checks that it may run an operation. The errors are Unauthenticated and PermissionDenied, and
// Unavailable when it can't be known now.
func (a Authenticate) Authorize(ctx context.Context, o Operation, c Credentials) (Principal, error) {
	p, err := a.Of(ctx, c)
	if err == nil {
		err = p.Allows(o, Model{})
	}
	return p, err
}

// AllowsInference is Allows for a request to an engine.
func (p Principal) AllowsInference(model Model) error { return p.Allows(inference, model) }

// AuthorizeInference is Authorize for a request to an engine.
func (a Authenticate) AuthorizeInference(ctx context.Context, c Credentials) (Principal, error) {
	return a.Authorize(ctx, inference, c)
}

// Of is the principal of credentials. A nil Authenticate gives an anonymous admin: it is for tests of what isn't about callers.
func (a Authenticate) Of(ctx context.Context, c Credentials) (Principal, error) {
	if a == nil {
		return Principal{Role: Role_ADMIN}, nil
	}
	return a(ctx, c)
}

// NewKey is a key to be made.
type NewKey struct {
	Name, Class        string
	Role               Role
	Models, Operations []string
	Expires            time.Time
}

// engine is an engine's own address: it may show other callers' requests, so it needs more than an inference.
var engine = func() Operation { o := inference; o.Role = Role_READ; return o }()

// AuthorizeEngine is Authorize for an engine's own addresses, such as its slots.
func (a Authenticate) AuthorizeEngine(ctx context.Context, c Credentials) (Principal, error) {
	return a.Authorize(ctx, engine, c)
}
