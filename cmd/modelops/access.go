package main

import (
	"context"
	"time"

	"modelops/bridges/access"
	"modelops/bridges/config"
	natsapi "modelops/bridges/nats"
	"modelops/journal"
	"modelops/messages"
)

// flushEvery is how often the times of the keys' last use are written.
const flushEvery = time.Minute

// openAccess opens what finds out who sends a request.
func (d *daemon) openAccess() error {
	operator, err := config.EnsureOperator(d.cfg.DataDir)
	if err != nil {
		return err
	}
	store, err := access.OpenStore(d.cfg.DataDir, time.Now, d.cutOff)
	if err != nil {
		return err
	}
	d.later(func(context.Context) error { return store.Flush() })
	d.alongside(func(life context.Context) {
		tick := time.NewTicker(flushEvery)
		defer tick.Stop()
		for {
			select {
			case <-life.Done():
				return
			case <-tick.C:
				if err := store.Flush(); err != nil {
					d.log.Warn("the keys can't be written", "error", err)
				}
			}
		}
	})
	d.operator = operator
	is := func(key string) (messages.Principal, bool) { return operator.Principal(), operator.Is(key) }
	d.access = access.New(access.Options{Operator: is, OperatorName: operator.Principal().Name, Store: store, Now: time.Now, Wrong: d.metrics.WrongKey, Log: d.log})
	d.access.Follow(rulesOf(d.cfg, d.cfg))
	d.authenticate = d.access.Authenticate
	return nil
}

// cutOff ends the open connections of a key that was revoked.
func (d *daemon) cutOff(fingerprint string) {
	if d.journal != nil {
		d.journal.DisconnectCallers(fingerprint)
	}
}

// callers are those whom the NATS listener lets in, and what for.
func (d *daemon) callers() journal.Callers {
	return journal.Callers{Admit: d.authenticate, Operator: d.operator.Key(), Rights: func(p messages.Principal) (r journal.Rights) {
		r.Publish, r.Subscribe = natsapi.Rights(p)
		return r
	}}
}

// rulesOf is what a configuration says of callers, in a process that started with another one.
func rulesOf(c, started *config.Config) access.Rules {
	r := access.Rules{Class: c.Queue.DefaultClass, Classes: c.Queue.Classes, Keys: map[access.Sum]messages.Principal{}, Guessable: map[access.Sum]bool{}}
	if !c.Server.RequireKey {
		r.Anonymous, _ = messages.ParseRole(c.Server.Anonymous)
	}
	r.Everywhere = c.AnonymousEverywhere(started)
	for _, k := range c.Keys {
		if sum, ok := access.SumOf(k.SHA256); ok {
			r.Keys[sum] = k.Principal()
		}
	}
	for _, hash := range c.Guessable() {
		if sum, ok := access.SumOf(hash); ok {
			r.Guessable[sum] = true
		}
	}
	o, p := c.Auth.OIDC, c.Auth.Proxy
	r.Tokens = access.Tokens{Issuer: o.Issuer, Audience: o.Audience, NameClaim: o.NameClaim, RoleClaim: o.RoleClaim, Roles: roles(o.Roles)}
	r.Proxy = access.Proxy{UserHeader: p.UserHeader, RoleHeader: p.RoleHeader, Roles: roles(p.Roles)}
	for _, from := range p.From {
		if a, err := messages.ParseAddresses(from); err == nil {
			r.Proxy.From = append(r.Proxy.From, a)
		}
	}
	return r
}

func roles(said map[string]string) map[string]messages.Role {
	out := make(map[string]messages.Role, len(said))
	for what, role := range said {
		out[what], _ = messages.ParseRole(role)
	}
	return out
}
