package view

import (
	"cmp"
	"fmt"
	"slices"

	"modelops/messages"
)

// Files compares the files that hosts declare under one name. A name is one model: while its files differ, no host's worker serves a request that came in
// at another host.
type Files struct {
	Host string
	// Own are the files of this host's models.
	Own func() []*messages.ModelFile
	// Others are the reports of other hosts.
	Others *Follower
}

// of is a host's file of a model; nil = it has none, or nobody knows it.
func (f Files) of(host, model string) *messages.ModelFile {
	files := f.Others.Said(host).Report.GetFiles()
	if host == f.Host {
		files = f.Own()
	}
	for _, x := range files {
		if x.Model == model {
			return x
		}
	}
	return nil
}

// Wanted tells whether the hash of a file of this host is worth its reading: another host has one of the same size under the same name.
func (f Files) Wanted(model string, bytes uint64) bool {
	return slices.ContainsFunc(f.Others.Hosts(), func(host string) bool {
		x := f.of(host, model)
		return x != nil && x.Bytes == bytes
	})
}

// Apart says why a host's workers don't serve a model for requests that come in here: its file is another one than this host's, or, where this host has none,
// than that of any other. Nil = they may.
func (f Files) Apart(model, host string) *messages.Error {
	if host == f.Host {
		return nil
	}
	if f.of(f.Host, model) != nil {
		return f.differ(model, f.Host, host)
	}
	for _, other := range f.Others.Hosts() {
		if e := f.differ(model, min(host, other), max(host, other)); e != nil {
			return e
		}
	}
	return nil
}

// All are the differences of all hosts' files, one for each host that differs from the first one by name that has the model.
func (f Files) All() (out []*messages.Error) {
	hosts := append(f.Others.Hosts(), f.Host)
	slices.Sort(hosts)
	first := map[string]string{}
	for _, host := range hosts {
		files := f.Others.Said(host).Report.GetFiles()
		if host == f.Host {
			files = f.Own()
		}
		for _, x := range files {
			if first[x.Model] = cmp.Or(first[x.Model], host); first[x.Model] == host {
				continue
			}
			if e := f.differ(x.Model, first[x.Model], host); e != nil {
				out = append(out, e)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *messages.Error) int { return cmp.Compare(a.Subject, b.Subject) })
	return out
}

// differ compares sizes at once, and hashes when both are known.
func (f Files) differ(model, a, b string) *messages.Error {
	x, y := f.of(a, model), f.of(b, model)
	if a == b || x == nil || y == nil || x.Bytes == y.Bytes && (x.Sha256 == "" || y.Sha256 == "" || x.Sha256 == y.Sha256) {
		return nil
	}
	return messages.Errorf(messages.FailedPrecondition, model, "model %s is another file on %s (%s) than on %s (%s): no host serves it for another", model, a, told(x), b, told(y)).
		WithHint("copy the right file over the other, or declare one of the two under another name")
}

// told is a file in words.
func told(x *messages.ModelFile) string {
	size := fmt.Sprint(x.Bytes, " bytes")
	if x.Sha256 == "" {
		return size
	}
	return size + ", sha256 " + x.Sha256[:min(12, len(x.Sha256))]
}
