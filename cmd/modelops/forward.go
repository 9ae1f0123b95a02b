package main

import (
	"context"
	"net"
	"net/http"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/cluster"
	"modelops/bridges/forward"
	"modelops/bridges/peer"
	"modelops/bridges/runtime"
	"modelops/messages"
)

// forwardProtocol is what requests for workers of other hosts travel by, on the cluster port.
const forwardProtocol = "forward"

// idleForward connections to workers wait for a next request of other hosts, for idleForwardTime at most.
const (
	idleForward     = 1024
	idleForwardTime = 90 * time.Second
)

// openForward lets other hosts run requests at workers of this one, and this one at theirs.
func (d *daemon) openForward() {
	workers := &http.Transport{DialContext: runtime.EitherFamily(d.outward.Dial), Proxy: http.ProxyFromEnvironment, DisableCompression: true,
		MaxIdleConns: idleForward, MaxIdleConnsPerHost: idleForward, IdleConnTimeout: idleForwardTime}
	d.outward.onFull(workers.CloseIdleConnections)
	s := forward.NewServer(forward.Options{Host: d.host, Gateway: d.gateway, Workers: workers, Log: d.log})
	s.Start()
	d.peers.Handle(forwardProtocol, peer.Handler{Serve: func(c *peer.Conn) { s.Serve(c, c.Host) }})
	d.onward = forward.NewClient(func(ctx context.Context, host string) (net.Conn, error) {
		return d.peers.Dial(ctx, host, forwardProtocol)
	})
	d.client.Forward(d.onward)
	d.alongside(d.followLoads)
	d.later(func(ctx context.Context) error {
		d.onward.Close()
		err := s.Stop(ctx)
		workers.CloseIdleConnections()
		return err
	})
}

// farWorkers reaches the workers of other hosts; nil without any.
func (d *daemon) farWorkers() http.RoundTripper {
	if d.onward == nil {
		return nil
	}
	return d.onward
}

// reached tells those who send requests to a host whether it can be reached.
func (d *daemon) reached(c cluster.Change) {
	up := c.To == messages.MemberView_alive
	d.gateway.Reach(c.Host, up)
	d.onward.Reach(c.Host, up)
}

// loadsEvery is how often new reports are looked at for what runs at other hosts' workers.
const loadsEvery = 250 * time.Millisecond

// followLoads tells the gateway what other hosts say runs at their workers, and that a file of a model is another one now.
func (d *daemon) followLoads(ctx context.Context) {
	tick := time.NewTicker(loadsEvery)
	defer tick.Stop()
	told := map[string]*messages.Report{}
	var compared []*messages.ModelFile
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		files := slices.Clone(d.files.Own())
		for _, host := range d.follower.Hosts() {
			files = append(files, d.follower.Said(host).Report.GetFiles()...)
			if said := d.follower.Said(host); said.Reached && said.Report != told[host] {
				told[host] = said.Report
				d.gateway.Loads(host, said.Report.GetLoads())
			}
		}
		if !slices.EqualFunc(files, compared, func(a, b *messages.ModelFile) bool { return proto.Equal(a, b) }) {
			compared = files
			d.gateway.Compare()
		}
	}
}
