package config

// Cluster says how this host and others work as one. A host whose section names no peer, and which has never joined others, is alone: it opens no
// port for others.
type Cluster struct {
	Port       int    `yaml:"port" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"Where other hosts of the cluster reach this one. 0 picks a free port."`
	ActorsPort int    `yaml:"actors_port" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"Where the hosts' actor systems reach each other. 0 picks a free port."`
	Peers      []Peer `yaml:"peers" jsonschema_description:"The other hosts, as far as they are declared. A line for this host itself is passed over, so that one file fits all."`
}

// Peer is another host of the cluster.
type Peer struct {
	Host    string `yaml:"host" jsonschema:"required,pattern=^[A-Za-z0-9][A-Za-z0-9_-]{0\\,62}$" jsonschema_description:"Its name."`
	Address string `yaml:"address" jsonschema:"required,minLength=1" jsonschema_description:"Its cluster port: HOST:PORT."`
}

// Others are the declared peers without this host itself.
func (c *Config) Others() (out []Peer) {
	for _, p := range c.Cluster.Peers {
		if p.Host != c.Host {
			out = append(out, p)
		}
	}
	return out
}
