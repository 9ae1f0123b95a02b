package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// minKey is the least length of an API key: less can be guessed.
const minKey = 8

// queue checks the priority classes.
func (k *checker) queue() {
	list := k.root.walk("queue", "classes")
	for i, class := range k.Queue.Classes {
		at := index("queue.classes", i)
		switch {
		case k.broken(at):
		case !hostPattern.MatchString(class):
			k.add(list.item(i), at, fmt.Sprintf("is %q", clip(class)), hostRule)
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
	if k.Server.RequireKey && len(k.Keys) == 0 && !k.broken("keys") {
		k.wrong([]string{"server", "require_key"}, "is true and there are no keys, so every request would be refused", "an entry in keys, or false")
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
	}
}
