package messages

import "net/url"

// Only says where a request may run; zero = anywhere.
type Only struct {
	Host string
	// Worker is the name of a model or of a replica on that host.
	Worker string
}

// Anywhere tells that nothing is said.
func (o Only) Anywhere() bool { return o == Only{} }

// HostHeader names the host whose worker a request may run at only, the host that an operation is asked of, and of an answer the host whose worker it is from. It
// is a header of HTTP and NATS, and metadata of gRPC.
const HostHeader = "X-Modelops-Host"

// PeerScheme begins the address of a worker that another host rules over.
const PeerScheme = "peer"

// PeerURL is the base address of a host's worker. Whoever reaches it goes through that host.
func PeerURL(host, worker string) string {
	return (&url.URL{Scheme: PeerScheme, User: url.User(worker), Host: host}).String()
}
