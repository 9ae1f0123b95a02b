package main

import "modelops/messages"

// authenticate finds the principal by the key that came with a request, in the configuration in force. When no key is configured, any key is
// ignored: clients of OpenAI's API always send one.
func (d *daemon) authenticate(c messages.Credentials) (messages.Principal, error) {
	key := c.Key
	cfg := d.config()
	anonymous := messages.Principal{Class: cfg.Queue.DefaultClass, Role: messages.Role_ADMIN} // the doors listen on loopback only, and every caller there has every role
	if len(cfg.Keys) == 0 {
		return anonymous, nil
	}
	if key == "" {
		if cfg.Server.RequireKey && c.For == messages.Role_INFER { // managing the host needs none on loopback
			return anonymous, messages.NewError(messages.Unauthenticated, "API key", "this host requires one").
				WithHint("send Authorization: Bearer KEY, or x-api-key: KEY")
		}
		return anonymous, nil
	}
	known, ok := cfg.KeyOf(key)
	if !ok {
		return anonymous, messages.NewError(messages.Unauthenticated, "API key", "it is not one that this host knows").
			WithHint("check it, or have it added under keys in cluster.yaml")
	}
	return messages.Principal{Name: known.Name, Class: known.Class, Fingerprint: known.Fingerprint(), Role: messages.Role_ADMIN}, nil
}
