package main

import (
	"context"

	"modelops/bridges/config"
	"modelops/journal"
	"modelops/messages"
)

// openHub opens a connection whose subjects reach the hub, and begins to archive the journal there. It is there while the hub isn't.
func (d *daemon) openHub(context.Context) error {
	if len(d.cfg.NATS.Hub) == 0 {
		return nil
	}
	nc, err := d.journal.ConnectHub()
	if err != nil {
		return err
	}
	d.atHub = nc
	d.later(func(context.Context) error { nc.Close(); return nil })
	if d.cfg.Journal.Archive == config.ArchiveHub {
		d.archive = journal.NewArchive(journal.ArchiveOptions{Host: d.host, Journal: d.journal, Hub: nc, Domain: d.cfg.NATS.Domain, Log: d.log})
		d.alongside(d.archive.Run)
	}
	return nil
}

// hubView is how the hub is now; nil = none is configured.
func (d *daemon) hubView() *messages.HubView {
	if len(d.cfg.NATS.Hub) == 0 {
		return nil
	}
	v := &messages.HubView{}
	for _, u := range d.cfg.NATS.HubURLs() {
		v.Urls = append(v.Urls, u.String())
	}
	v.Reached, v.Reason = d.journal.HubUp()
	if d.archive != nil {
		s := d.archive.Status()
		v.Archive = &messages.ArchiveView{Stream: s.Stream, Archived: s.Archived, Sequence: d.journal.Sequence(), Note: s.Note}
	}
	return v
}

// hubTroubles is what /health says of the hub.
func (d *daemon) hubTroubles() []string {
	switch v := d.hubView(); {
	case v == nil:
		return nil
	case !v.Reached:
		return []string{"the hub of nats.hub isn't reached: " + v.Reason}
	case v.Archive.GetNote() != "":
		return []string{v.Archive.Note}
	}
	return nil
}
