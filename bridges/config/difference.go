package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Difference is what one configuration changes of another, beside the declarations of models. Its words name keys of the file and callers,
// never a secret.
type Difference struct {
	Preload []string // models that are preloaded from now on
	Changes []string // what changes at once, in words
	Restart []string // what only a restart changes, in words
}

// section is a part of two configurations that is compared as a whole.
type section struct {
	name     string
	old, new any
}

func changed(sections []section, words string) (out []string) {
	for _, s := range sections {
		if !reflect.DeepEqual(s.old, s.new) {
			out = append(out, s.name+words)
		}
	}
	return out
}

// needsRestart ends the words of what only a restart changes.
const needsRestart = ": changed, needs a restart"

// Follows compares a configuration with the one in force, and with the one that the process started with: a restart is owed for what differs
// from the start, however often the file was applied since, and no more for what changed back.
func (c *Config) Follows(inForce, started *Config) Difference {
	d := c.Differs(inForce)
	switch was, is := inForce.AnonymousEverywhere(started), c.AnonymousEverywhere(started); {
	case is && !was:
		d.Changes = append(d.Changes, "server.anonymous: requests of other machines need no key any more")
	case was && !is:
		d.Changes = append(d.Changes, "server.anonymous: requests of other machines need a key now")
	}
	owed := c.Differs(started).Restart
	for _, line := range d.Restart {
		if !slices.Contains(owed, line) {
			d.Changes = append(d.Changes, strings.TrimSuffix(line, needsRestart)+": as it was at the start again, needs no restart")
		}
	}
	d.Restart = owed
	return d
}

// Differs compares a configuration with the one that it follows.
func (c *Config) Differs(old *Config) (d Difference) {
	for _, p := range c.Models.Preload {
		if !slices.ContainsFunc(old.Models.Preload, func(o Preload) bool { return o.Name == p.Name }) {
			d.Preload = append(d.Preload, p.Name)
		}
	}
	d.Changes = changed([]section{
		{"resilience", old.Resilience, c.Resilience}, {"queue", old.Queue, c.Queue}, {"batch", old.Batch, c.Batch},
		{"server.require_key", old.Server.RequireKey, c.Server.RequireKey}, {"server.anonymous", old.Server.Anonymous, c.Server.Anonymous}, {"auth", old.Auth, c.Auth}, {"server.names", old.Server.Names, c.Server.Names},
		{"server.cors", old.Server.CORS, c.Server.CORS}, {"learning", old.Learning, c.Learning},
	}, ": changed")
	d.Changes = append(d.Changes, changedKeys(old.Keys, c.Keys)...)
	was, will := old.Server, c.Server
	for _, s := range []*Server{&was, &will} { // asked at each request
		s.RequireKey, s.Anonymous, s.Names, s.CORS = false, "", nil, CORS{}
	}
	if was.TLS.On() && will.TLS.On() { // asked at each handshake
		d.Changes = append(d.Changes, changed([]section{{"server.tls", was.TLS, will.TLS}}, ": changed")...)
		was.TLS = will.TLS
	}
	d.Restart = changed([]section{
		{"host", old.Host, c.Host}, {"data_dir", old.DataDir, c.DataDir}, {"server", was, will}, {"cluster", old.Cluster, c.Cluster}, {"nats", old.NATS, c.NATS}, {"journal", old.Journal, c.Journal},
		{"resources", old.Resources, c.Resources}, {"runtimes", old.Runtimes, c.Runtimes}, {"load", old.Load, c.Load},
		{"scheduler", old.Scheduler, c.Scheduler}, {"queue.max_wait of models that wait for memory", old.Queue.MaxWait, c.Queue.MaxWait},
		{"log", old.Log, c.Log},
	}, needsRestart)
	return d
}

// changedKeys names the callers whose key came, went, or became another one, without telling it.
func changedKeys(old, next []Key) []string {
	was := map[string]Key{}
	for _, k := range old {
		was[k.Name] = k
	}
	var out []string
	for _, k := range next {
		before, known := was[k.Name]
		delete(was, k.Name)
		switch {
		case !known:
			out = append(out, "key of "+k.Name+": new")
		case before.SHA256 != k.SHA256:
			out = append(out, "key of "+k.Name+": another one; the old one is refused")
		case before.Class != k.Class:
			out = append(out, fmt.Sprintf("key of %s: class %s becomes %s", k.Name, before.Class, k.Class))
		case !reflect.DeepEqual(before, k):
			out = append(out, "key of "+k.Name+": it may do something else now")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		out = append(out, "key of "+name+": gone; it is refused")
	}
	return out
}
