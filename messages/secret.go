package messages

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Names and texts that look like secrets. What is declared and what is logged is judged by the same words.
const (
	secretPart = `(?:key|token|secret|passw(?:or)?d|passphrase|credential)`
	secretEnd  = `(?:pass|pwd|pw|auth|tok|cookie)s?`
)

var (
	secretName = regexp.MustCompile(`(?i)` + secretPart + `|` + secretEnd + `(?:[_-]|$)`)
	noSecret   = regexp.MustCompile(`(?i)tokeni[sz]|tokens|tokenid|token-id|keyword|keyboard|keymap|publickey|public[-_]key|bypass|^(?:old)?pwd$`)
	// secretText is what comes before a secret, and the secret: "--api-key x", API_KEY=x, "x-api-key: x", "Bearer x", "api_key": "x".
	secretText = regexp.MustCompile(`(?i)(` + strings.Join([]string{
		`--?(?:[a-z0-9_-]*` + secretPart + `[a-z0-9_-]*|(?:[a-z0-9-]*-)?` + secretEnd + `)[=\s\\]+`,
		`\b[a-z0-9_-]*` + secretPart + `[a-z0-9_-]*=`, `\b[a-z0-9_]*(?:` + secretEnd + `|sig|signature)=`,
		`\b(?:x-[a-z0-9-]*(?:key|token|secret|auth)|api-key|cookie)\s*:\s*`, `\b(?:proxy-)?authorization\s*[:=]\s*(?:(?:bearer|basic|token)\s+)?`, `\bbearer\s+`,
		`"[a-z0-9_-]*` + secretPart + `[a-z0-9_-]*"\s*:\s*`}, `|`) + `)("[^"]*"|'[^']*'|[^\s"']+)`)
	// secretShape is a secret by its own form, wherever it stands.
	secretShape = regexp.MustCompile(`\b(?:sk-[A-Za-z0-9_-]{8,}|(?:hf_|gh[opsu]_|github_pat_|glpat-|xox[abp]-|nvapi-|mo-)[A-Za-z0-9_-]{20,})`)
	secretInURL = regexp.MustCompile(`(://)([^/@\s]+)(@)`)
)

// SecretName tells whether a variable, flag or key of this name holds a secret.
func SecretName(name string) bool { return secretName.MatchString(name) && !noSecret.MatchString(name) }

// ReplaceSecrets puts with(secret) in place of each text that looks like a secret.
func ReplaceSecrets(text string, with func(secret string) string) string {
	text = secretText.ReplaceAllStringFunc(text, func(whole string) string {
		m := secretText.FindStringSubmatch(whole)
		value, rest := m[2], ""
		if i := strings.IndexByte(value, '&'); i > 0 && strings.HasPrefix(value, "${") { // further parameters of a URL
			value, rest = value[:i], ReplaceSecrets(value[i:], with)
		}
		if noSecret.MatchString(m[1]) {
			return m[1] + value + rest
		}
		return m[1] + with(value) + rest
	})
	if strings.Contains(text, "://") {
		text = secretInURL.ReplaceAllStringFunc(text, func(whole string) string {
			m := secretInURL.FindStringSubmatch(whole)
			return m[1] + with(m[2]) + m[3]
		})
	}
	return secretShape.ReplaceAllStringFunc(text, with)
}

// ReplaceSecretsIn does so in arguments or an environment, where a flag or a name says that all of what follows is a secret, spaces included.
func ReplaceSecretsIn(items []string, with func(secret string) string) []string {
	var out []string
	for i, item := range items {
		name, value, pair := strings.Cut(item, "=")
		switch {
		case i > 0 && SecretFlag(items[i-1]):
			out = append(out, with(item))
		case pair && SecretName(name):
			out = append(out, name+"="+with(value))
		default:
			out = append(out, ReplaceSecrets(item, with))
		}
	}
	return out
}

// SecretFlag tells whether an argument is a flag, such as --api-key, whose value is the next argument.
func SecretFlag(flag string) bool {
	return len(flag) > 1 && flag[0] == '-' && !strings.ContainsAny(flag, "= ") && SecretName(flag)
}

// Sealer replaces the secrets that stand in a declaration by ${secret.N} and keeps them, in their order. What names variables is no secret.
type Sealer struct{ Secrets []string }

// Text is a command line or an address without its secrets.
func (s *Sealer) Text(text string) string { return ReplaceSecrets(text, s.one) }

// List is arguments or an environment without their secrets.
func (s *Sealer) List(items []string) []string { return ReplaceSecretsIn(items, s.one) }

func (s *Sealer) one(value string) string {
	bare := strings.Trim(value, `"'`)
	if _, err := strconv.ParseFloat(bare, 64); err == nil || bare == "" || strings.Contains(bare, "${") || bare == "true" || bare == "false" {
		return value
	}
	i := slices.Index(s.Secrets, bare)
	if i < 0 {
		s.Secrets = append(s.Secrets, bare)
		i = len(s.Secrets) - 1
	}
	return strings.Replace(value, bare, "${secret."+strconv.Itoa(i+1)+"}", 1)
}
