package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
)

// cluster checks the peers that are declared.
func (k *checker) cluster() {
	c := k.Cluster
	if some, all := c.CA+c.Cert+c.Key != "", c.CA != "" && c.Cert != "" && c.Key != ""; some && !all && !k.doubtful("cluster.ca", "cluster.cert", "cluster.key") {
		k.wrong([]string{"cluster", "cert"}, "certificates of one's own are three files", "ca, cert and key together")
	}
	list := k.root.walk("cluster", "peers")
	for i, p := range k.Cluster.Peers {
		at := index("cluster.peers", i)
		if slices.ContainsFunc(k.Cluster.Peers[:i], func(q Peer) bool { return q.Host == p.Host }) && !k.doubtful(at) {
			k.add(list.item(i), at, fmt.Sprintf("%q is declared twice", clip(p.Host)), "each host once")
		}
		if p.Address == "" && p.Wake == nil && len(k.NATS.Hub) == 0 && !k.doubtful(at) {
			k.add(list.item(i), at, "its address is missing", "HOST:PORT, such as pc2.lan:7422")
		}
		if w := p.Wake; w != nil && w.Address != "" && !hostAndPort(w.Address) && !k.doubtful(at+".wake") {
			k.add(list.item(i), at+".wake", fmt.Sprintf("%q is no address with a port", clip(w.Address)), "a broadcast address and a port, such as 192.168.1.255:9")
		}
		if p.Address != "" && !hostAndPort(p.Address) && !k.doubtful(at+".address") {
			k.add(list.item(i), at+".address", fmt.Sprintf("%q is no address with a port", clip(p.Address)), "HOST:PORT, such as pc2.lan:7422")
		}
	}
}

func hostAndPort(address string) bool {
	host, port, err := net.SplitHostPort(address)
	n, numeric := strconv.Atoi(port)
	return err == nil && host != "" && numeric == nil && n > 0 && n < 1<<16
}
