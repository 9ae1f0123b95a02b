package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"modelops/messages"
)

// minKey is the least length of an API key, and longKey that of one that nobody guesses.
const minKey, longKey = 8, 16

// queue checks the priority classes.
func (k *checker) queue() {
	list := k.root.walk("queue", "classes")
	for i, class := range k.Queue.Classes {
		at := index("queue.classes", i)
		switch {
		case k.broken(at):
		case !messages.PlainName.MatchString(class):
			k.add(list.item(i), at, fmt.Sprintf("is %q", clip(class)), messages.GoodPlainName)
		case slices.Contains(k.Queue.Classes[:i], class):
			k.add(list.item(i), at, fmt.Sprintf("%q is named twice", class), "each class once")
		}
	}
	if len(k.Queue.Classes) == 0 {
		k.wrong([]string{"queue", "classes"}, "is empty", "at least one class")
	}
	if !k.knownClass(k.Queue.DefaultClass) {
		k.wrong([]string{"queue", "default_class"}, fmt.Sprintf("%q is no class", clip(k.Queue.DefaultClass)), k.someClass())
	}
}

// knownClass is true also when the list of classes is wrong: what follows from a mistake is no second one.
func (k *checker) knownClass(class string) bool {
	return slices.Contains(k.Queue.Classes, class) || len(k.Queue.Classes) == 0 || k.broken("queue.classes")
}

func (k *checker) someClass() string {
	return "one of queue.classes: " + strings.Join(k.Queue.Classes, ", ")
}

// keys checks the callers and forgets their keys: from here on there are only hashes.
func (k *checker) keys() {
	list := k.root.get("keys")
	for i := range k.Keys {
		at, key := index("keys", i), &k.Keys[i]
		wrong := func(what, expected string) { k.add(list.item(i), at, what, expected) }
		if k.broken(at) {
			key.Key = ""
			continue
		}
		k.secret(key, at, wrong)
		k.scope(key, wrong)
		if j := slices.IndexFunc(k.Keys[:i], func(o Key) bool { return o.Name == key.Name }); j >= 0 {
			wrong(fmt.Sprintf("name %q is entry %d's too", key.Name, j), "a name of its own")
		}
		if j := slices.IndexFunc(k.Keys[:i], func(o Key) bool { return o.SHA256 == key.SHA256 && o.SHA256 != "" }); j >= 0 {
			wrong(fmt.Sprintf("its key is entry %d's too", j), "a key of its own")
		}
		if key.Class == "" {
			key.Class = k.Queue.DefaultClass
			k.derive(at+".class", "from queue.default_class")
		} else if !k.knownClass(key.Class) {
			wrong(fmt.Sprintf("class %q is no class", clip(key.Class)), k.someClass())
		}
	}
}

// scope checks what a key is for.
func (k *checker) scope(key *Key, wrong func(what, expected string)) {
	if key.Name == operatorName {
		wrong("name operator is the local credential's", "another name")
	}
	if i := slices.IndexFunc(key.Models, func(m string) bool { return strings.TrimSpace(m) == "" }); i >= 0 {
		wrong("models has an empty entry", "names or patterns such as org/*, or no list for all models")
	}
	for _, name := range key.Operations {
		if err := messages.CheckOperation(name); err != nil {
			wrong("operations: "+err.Message, err.Hint)
		}
	}
	if _, err := messages.ParseEnd(key.Expires); err != nil {
		wrong(fmt.Sprintf("expires %q is no time", clip(key.Expires)), "a date such as 2026-12-31, or a time such as 2026-12-31T12:00:00Z")
	}
}

// auth checks who else is a caller.
func (k *checker) auth() {
	a := k.Auth
	oidc, proxy := []string{"auth", "oidc"}, []string{"auth", "proxy"}
	if u, err := url.Parse(a.OIDC.Issuer); a.OIDC.Issuer != "" && (err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname()))) {
		k.wrong(append(oidc, "issuer"), "is no address that can be trusted", "https://host, or http on this machine")
	}
	if a.OIDC.Issuer != "" && a.OIDC.Audience == "" {
		k.wrong(append(oidc, "audience"), "is empty, so a token for any other service would be taken", "the name under which this host is known to the issuer")
	}
	k.roles(append(oidc, "roles"), a.OIDC.Roles)
	k.roles(append(proxy, "roles"), a.Proxy.Roles)
	for _, from := range a.Proxy.From {
		if _, err := messages.ParseAddresses(from); err != nil {
			k.wrong(append(proxy, "from"), fmt.Sprintf("%q is no address", clip(from)), "an address such as 10.0.0.2, or a range such as 10.0.0.0/28")
		}
	}
}

func (k *checker) roles(at []string, roles map[string]string) {
	for _, said := range slices.Sorted(maps.Keys(roles)) {
		if _, ok := messages.ParseRole(roles[said]); !ok {
			k.wrong(at, fmt.Sprintf("%q is %q, which is no role", clip(said), clip(roles[said])), "infer, read, operate or admin")
		}
	}
}

// secret turns the key into its hash.
func (k *checker) secret(key *Key, at string, wrong func(what, expected string)) {
	text := key.Key
	key.Key = ""
	switch {
	case text != "" && key.SHA256 != "":
		wrong("key and sha256 exclude each other", "one of the two")
	case text == "" && key.SHA256 == "":
		wrong("there is no key", `key: "${SOME_VARIABLE}", or sha256`)
	case text == "":
		key.SHA256 = strings.ToLower(key.SHA256)
		if sum, err := hex.DecodeString(key.SHA256); err != nil || len(sum) != sha256.Size {
			wrong("sha256 is no SHA-256", "64 hex digits, as printf %s KEY | sha256sum prints them")
		}
	case len(text) < minKey || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		wrong("key can't be used", fmt.Sprintf("at least %d letters, digits and signs without spaces", minKey))
	default:
		k.Config.secrets = append(k.Config.secrets, text) // where it stands a second time, it is no less a secret
		sum := sha256.Sum256([]byte(text))
		key.SHA256 = hex.EncodeToString(sum[:])
		k.derive(at+".sha256", "from key")
		if len(text) < longKey {
			k.Config.guessable = append(k.Config.guessable, key.SHA256)
			k.Config.notices = append(k.Config.notices, fmt.Sprintf("%s: the key of %s has only %d characters, so it can be guessed: make it at least %d, or use `modelops keys add`", at, key.Name, len(text), longKey))
		}
	}
}
