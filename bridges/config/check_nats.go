package config

import (
	"strings"
)

// ArchiveHub is the word of journal.archive for nats.hub.
const ArchiveHub = "hub"

// hub checks the cluster that this host joins as a leaf.
func (k *checker) hub() {
	n := k.NATS
	list := k.root.walk("nats", "hub")
	for i, text := range n.Hub {
		at := index("nats.hub", i)
		if k.doubtful(at) {
			continue
		}
		if _, what := hubURL(text); what != "" {
			item := list.item(i)
			if item == nil {
				item = list
			}
			if !strings.Contains(text, "@") { // else it may hold a password
				what = clip(text) + " " + what
			}
			k.add(item, at, what, "nats://HOST:PORT of a leafnode listener, or tls://; users go into hub_credentials, or hub_user and hub_password_file")
		}
	}
	given := func(key, value string) bool { return value != "" && !k.doubtful("nats."+key) }
	for key, value := range map[string]string{"hub_credentials": n.Credentials, "hub_user": n.User, "hub_password_file": n.PasswordFile, "hub_domain": n.Domain, "hub_ca": n.CA} {
		if len(n.Hub) == 0 && given(key, value) && !k.doubtful("nats.hub") {
			k.wrong([]string{"nats", key}, "there is no hub that it is for", "nats.hub")
		}
	}
	if k.Journal.Archive == ArchiveHub && (len(n.Hub) == 0 || n.Domain == "") && !k.doubtful("nats.hub", "nats.hub_domain") {
		k.wrong([]string{"journal", "archive"}, "there is no hub for it, or its JetStream domain isn't known", "nats.hub and nats.hub_domain, or none")
	}
	switch {
	case given("hub_user", n.User) != given("hub_password_file", n.PasswordFile) && !k.doubtful("nats.hub_user", "nats.hub_password_file"):
		k.wrong([]string{"nats", "hub_user"}, "a user and the file of its password belong together", "hub_user and hub_password_file")
	case given("hub_user", n.User) && given("hub_credentials", n.Credentials):
		k.wrong([]string{"nats", "hub_credentials"}, "hub_user is given too", "one of the two")
	}
}
