package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// declaredDir holds a file for each other host: the models that it declares, as it said last. The time of change of the file says when.
const declaredDir = "declared"

// touchEvery is how exact the time of an unchanged file is.
const touchEvery = 10 * time.Second

// remembered keeps what other hosts declare, so that after a restart of this host a request for a model of a host that is off isn't for an unknown one. It
// implements view.Store.
type remembered struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	kept  map[string]*messages.ResidentList // what is in the files that this start wrote
	wrote map[string]time.Time              // or touched
}

func newRemembered(dataDir string, log *slog.Logger) *remembered {
	return &remembered{dir: filepath.Join(dataDir, declaredDir), log: log, kept: map[string]*messages.ResidentList{}, wrote: map[string]time.Time{}}
}

func (r *remembered) path(host string) string { return filepath.Join(r.dir, host+".json") }

// Keep implements view.Store.
func (r *remembered) Keep(host string, models []*messages.ModelView) {
	list, now := &messages.ResidentList{Models: models}, time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	same := proto.Equal(r.kept[host], list)
	if same && now.Sub(r.wrote[host]) < touchEvery {
		return
	}
	at := r.path(host)
	if same && os.Chtimes(at, now, now) == nil {
		r.wrote[host] = now
		return
	}
	body, err := protojson.MarshalOptions{Multiline: true}.Marshal(list)
	if err == nil {
		err = os.MkdirAll(r.dir, 0o700)
	}
	if err == nil {
		err = replaceFile(at, body, 0o600)
	}
	if err != nil {
		r.log.Warn("what another host declares can't be kept: after a restart its models are unknown until it is heard", "host", host, "error", err)
	}
	r.kept[host], r.wrote[host] = list, now // a disk that is full is tried again when there is something new, or later
}

// Drop implements view.Store.
func (r *remembered) Drop(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept, host)
	delete(r.wrote, host)
	if err := os.Remove(r.path(host)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("what a removed host declared can't be deleted", "host", host, "error", err)
	}
}

// restore gives what members declared when they were last heard, and deletes what is of hosts that are none any more.
func (r *remembered) restore(isMember func(host string) bool, take func(host string, models []*messages.ModelView, age time.Duration)) {
	entries, _ := os.ReadDir(r.dir) // without the folder nothing was kept
	for _, e := range entries {
		host, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		if !isMember(host) {
			r.Drop(host)
			continue
		}
		list := &messages.ResidentList{}
		body, err := os.ReadFile(r.path(host))
		if err == nil {
			err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(body, list)
		}
		st, noTime := e.Info()
		if err = errors.Join(err, noTime); err != nil {
			r.log.Warn("what a host declared can't be read: its models are unknown until it is heard", "host", host, "error", err)
			continue
		}
		take(host, list.Models, max(time.Since(st.ModTime()), 0))
	}
}

// lastDeclared says which models a host that can't be reached declared when it was heard last; "" when nothing is known of it.
func (d *daemon) lastDeclared(host string) string {
	said := d.follower.Said(host)
	if said.Report == nil || said.Reached {
		return ""
	}
	var names []string
	for _, v := range d.view.ModelsOf(host) {
		if messages.IsDeclared(v) {
			names = append(names, v.Name)
		}
	}
	shown := strings.Join(names[:min(len(names), mostNames)], ", ")
	switch more := len(names) - mostNames; {
	case len(names) == 0:
		shown = "no model"
	case more > 0:
		shown += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("it declared %s, as it said %s ago", shown, said.Age.Round(time.Second))
}

// mostNames of models are named in a sentence.
const mostNames = 10
