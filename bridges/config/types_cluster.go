package config

import (
	"net"
	"strings"
	"time"
)

// Cluster says how this host and others work as one. A host whose section names no peer, and which has never joined others, is alone: it opens no
// port for others.
type Cluster struct {
	Port       int    `yaml:"port" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"Where other hosts of the cluster reach this one. 0 picks a free port."`
	ActorsPort int    `yaml:"actors_port" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"Where the hosts' actor systems reach each other. 0 picks a free port."`
	Advertise  string `yaml:"advertise" jsonschema_description:"Where other hosts are told to reach the cluster port: HOST or HOST:PORT. Empty is the address that it listens on."`
	CA         string `yaml:"ca" jsonschema_description:"CA that issued the hosts' certificates, PEM, where you have certificates of your own. Relative to this file."`
	Cert       string `yaml:"cert" jsonschema_description:"Certificate of this host for the cluster, PEM; it names the host, and is for servers and clients. Relative to this file."`
	Key        string `yaml:"key" jsonschema_description:"Private key of the certificate, PEM. Relative to this file."`
	Peers      []Peer `yaml:"peers" jsonschema_description:"The other hosts, as far as they are declared. A line for this host itself is passed over, so that one file fits all."`
}

// Peer is another host of the cluster.
type Peer struct {
	Host    string `yaml:"host" jsonschema:"required,pattern=^[A-Za-z0-9][A-Za-z0-9_-]{0\\,62}$" jsonschema_description:"Its name."`
	Address string `yaml:"address" jsonschema:"minLength=1" jsonschema_description:"Its cluster port: HOST:PORT. A host that joined with a token, or is reached over nats.hub, needs none."`
	Wake    *Wake  `yaml:"wake" jsonschema_description:"How to wake it when it sleeps and a request needs it."`
}

// Wake wakes a host by a packet to its network card (Wake-on-LAN).
type Wake struct {
	MAC     string        `yaml:"mac" jsonschema:"required,pattern=^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$" form:"six pairs of hexadecimal digits, such as 01:23:45:67:89:ab" jsonschema_description:"Address of its network card, such as 01:23:45:67:89:ab."`
	After   time.Duration `yaml:"after" min:"0s" max:"24h" jsonschema_description:"How long a request waits for it before it is woken."`
	Address string        `yaml:"address" jsonschema_description:"Where the packet is sent. Empty is 255.255.255.255:9."`
}

// Others are the declared peers with an address, without this host itself. With a hub a peer needs none.
func (c *Config) Others() (out []Peer) {
	for _, p := range c.Cluster.Peers {
		if p.Host != c.Host && (p.Address != "" || len(c.NATS.Hub) > 0) {
			out = append(out, p)
		}
	}
	return out
}

// WakeOf says how to wake a host; nil = it can't be woken.
func (c *Config) WakeOf(host string) *Wake {
	for _, p := range c.Cluster.Peers {
		if p.Host == host {
			return p.Wake
		}
	}
	return nil
}

// Advertised is the address of the cluster port that other hosts are told, by cluster.advertise; empty = it says nothing.
func (c *Config) Advertised(port string) string {
	a := c.Cluster.Advertise
	if a == "" || hostAndPort(a) {
		return a
	}
	return net.JoinHostPort(strings.Trim(a, "[]"), port)
}
