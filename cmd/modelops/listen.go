package main

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"modelops/bridges/config"
	"modelops/bridges/rest"
	"modelops/messages"
)

// resolveTime bounds the question which address a name has.
const resolveTime = 10 * time.Second

// resolve finds the one address that all doors listen on. A name may have several; the first of this machine counts, IPv4 before IPv6.
func resolve(ctx context.Context, bind string) (netip.Addr, error) {
	host := config.Address(bind)
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, messages.Errorf(messages.FailedPrecondition, "server.bind", "%q has no address: %w", bind, err).
			WithHint("write an address of this machine, such as 0.0.0.0 for all of them, or a name that its resolver knows")
	}
	var out netip.Addr
	for _, a := range all {
		if a = a.Unmap(); !out.IsValid() || a.Is4() && !out.Is4() {
			out = a
		}
	}
	return out, nil
}

// mayListen says why an address that other machines reach isn't listened on. keys is whether any caller could have a key.
func mayListen(s config.Server, at netip.Addr, keys bool) error {
	if at.IsLoopback() {
		return nil
	}
	shown := s.Bind
	if name := config.Address(s.Bind); name != at.String() {
		shown += " (" + at.String() + ")"
	}
	if why := s.NeedsTLS(); why != "" {
		return messages.Errorf(messages.FailedPrecondition, "server.bind", "%s %s", shown, why).WithHint(config.TLSHint)
	}
	if !keys {
		return messages.Errorf(messages.FailedPrecondition, "server.bind", "%s can be reached from other machines, and nobody there could have a key", shown).
			WithHint("add one with `modelops keys add NAME`, or under keys in the configuration; or bind: 127.0.0.1")
	}
	return nil
}

// listen opens a door's port; port 0 takes any that is free. setting is what a person would change.
func listen(at netip.Addr, port int, setting string) (net.Listener, error) {
	if port < 0 || port > 65535 {
		return nil, messages.Errorf(messages.InvalidArgument, setting, "%d is no port", port).WithHint("write a number from 1 to 65535, or 0 for any that is free")
	}
	network := "tcp" // :: takes both families
	if at.Is4() {
		network = "tcp4" // Go's "tcp" would open 0.0.0.0 for IPv6 too
	}
	address := net.JoinHostPort(at.String(), strconv.Itoa(port))
	l, err := net.Listen(network, address)
	if err != nil {
		hint := "another program may hold the port: choose another " + setting
		if strings.Contains(err.Error(), "cannot assign requested address") {
			hint = "no interface of this machine has the address: set server.bind to one that `ip address` shows, or to 0.0.0.0"
		}
		return nil, messages.Errorf(messages.Unavailable, address, "can't listen: %w", err).WithHint(hint)
	}
	return l, nil
}

// near is where a client on this machine reaches what listens at an address: a wildcard is reached on loopback.
func near(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsUnspecified() {
		return address
	}
	if at.Addr().Is4() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port()).String()
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), at.Port()).String()
}

// zoned is an address with the zone of its interface, which a listener doesn't say.
func zoned(address, zone string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil || zone == "" {
		return address
	}
	return netip.AddrPortFrom(at.Addr().WithZone(zone), at.Port()).String()
}

// site is how browsers and clients may name this host under a configuration.
func (d *daemon) site(cfg *config.Config) *rest.Site {
	s := &rest.Site{Names: cfg.Server.Names, Origins: cfg.Server.CORS.Origins, Open: !d.at.IsLoopback()}
	if s.Open {
		s.Names = append(ownNames(cfg), s.Names...)
	}
	return s
}

// ownNames are the names that clients of the network may know this host by without being told.
func ownNames(cfg *config.Config) (out []string) {
	if name, err := os.Hostname(); err == nil {
		out = append(out, name)
	}
	bind := config.Address(cfg.Server.Bind)
	if _, err := netip.ParseAddr(bind); err != nil { // an address may have a zone
		out = append(out, bind)
	}
	return append(out, strings.ReplaceAll(cfg.Host, "_", "-"), cfg.Host)
}

// limitsOf are the bounds of the HTTP door.
func limitsOf(l config.Limits) rest.Limits {
	return rest.Limits{HeaderTime: l.HeaderTime, HeaderBytes: l.HeaderKB << 10, HeaderCount: l.HeaderCount, BodyStall: l.BodyStall, BodyTime: l.BodyTime,
		WriteStall: l.WriteStall, IdleTime: l.IdleTime, Streams: l.Streams}
}

// natsPort is where the NATS door listens.
func (d *daemon) natsPort() string {
	u, err := url.Parse(d.journal.ClientURL())
	if err != nil {
		return ""
	}
	return u.Port()
}
