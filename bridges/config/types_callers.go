package config

// Key is a caller's API key. The key itself is not kept: after Load, SHA256 is set and Key is empty.
type Key struct {
	Name   string `yaml:"name" jsonschema:"required,pattern=^[A-Za-z0-9][A-Za-z0-9_-]{0\\,62}$" jsonschema_description:"Name of the caller, unique; it is shown and logged."`
	Key    string `yaml:"key" secret:"true" jsonschema_description:"The key, from a variable: ${ALICE_KEY}."`
	SHA256 string `yaml:"sha256" secret:"true" jsonschema_description:"Instead of the key: its SHA-256 in hex."`
	// Class after Load is never empty.
	Class      string   `yaml:"class" jsonschema_description:"Priority class of the caller's requests. Empty is queue.default_class."`
	Role       string   `yaml:"role" jsonschema:"enum=infer,enum=read,enum=operate,enum=admin" jsonschema_description:"What the caller may do: ask models, also see the host, also load and unload, also configure."`
	Models     []string `yaml:"models" jsonschema_description:"The only models that the caller may use; * stands for any text, as in org/*. Empty is all."`
	Operations []string `yaml:"operations" jsonschema_description:"The only operations that the caller may run, by the names of docs/api.md. Empty is all that the role allows."`
	Expires    string   `yaml:"expires" jsonschema_description:"When the key ends: a date such as 2026-12-31, or a time such as 2026-12-31T12:00:00Z. Empty is never."`
}

// Auth says who else is a caller, beside those with keys.
type Auth struct {
	OIDC  OIDC  `yaml:"oidc"`
	Proxy Proxy `yaml:"proxy"`
}

// OIDC accepts the bearer tokens of an OpenID Connect issuer. It is off while Issuer is empty.
type OIDC struct {
	Issuer    string            `yaml:"issuer" jsonschema_description:"The issuer's URL, as its tokens say it. Empty accepts no tokens."`
	Audience  string            `yaml:"audience" jsonschema_description:"The audience that a token must be for."`
	NameClaim string            `yaml:"name_claim" jsonschema:"minLength=1" jsonschema_description:"The claim that names the caller."`
	RoleClaim string            `yaml:"role_claim" jsonschema:"minLength=1" jsonschema_description:"The claim that roles looks at; a text or a list. A dot leads into an object, as in realm_access.roles."`
	Roles     map[string]string `yaml:"roles" jsonschema_description:"Role by what the claim says; the highest counts. A caller without any has no role and is refused."`
}

// Proxy believes what an authenticating proxy in front of this host says of its callers. It is off while From is empty.
type Proxy struct {
	From       []string          `yaml:"from" jsonschema_description:"Addresses of the proxy, such as 10.0.0.2 or 10.0.0.0/28. Headers from any other address are ignored."`
	UserHeader string            `yaml:"user_header" jsonschema:"minLength=1" jsonschema_description:"The header that names the caller."`
	RoleHeader string            `yaml:"role_header" jsonschema:"minLength=1" jsonschema_description:"The header that roles looks at: texts with commas between them."`
	Roles      map[string]string `yaml:"roles" jsonschema_description:"Role by what the header says; the highest counts. A caller without any has no role and is refused."`
}

func (k *Key) setDefaults() { *k = Key{Role: "operate"} }
