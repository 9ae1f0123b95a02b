package certs

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"modelops/messages"
)

const membersFile = "members.json"

// ClusterDir is the folder of a host's membership in a cluster: ca.crt (the CAs that the members trust), host.crt, host.key and members.json.
func ClusterDir(dataDir string) string { return filepath.Join(dataDir, "cluster") }

// MembershipOptions say where a host's membership is kept.
type MembershipOptions struct {
	Dir, Host     string
	CA, Cert, Key string            // other files than those of Dir: certificates of one's own
	Declared      map[string]string // members that the configuration names, with their addresses
}

// Membership is who belongs to the cluster, and the certificates by which members know each other. What changes is written before it holds.
type Membership struct {
	o     MembershipOptions
	files [3]string

	mu      sync.Mutex
	hosts   map[string]Member // this one too
	changed chan struct{}
	stamps  [3]stamp
	cas     *x509.CertPool
	cert    tls.Certificate
}

// Member is a host that has joined the cluster, and may have been removed since.
type Member struct {
	Host    string `json:"host"`
	Address string `json:"address,omitempty"`
	// Changes counts how often it has joined and was removed: odd = it is a member. Of what two hosts say about a third, the higher count is newer.
	Changes uint64 `json:"changes"`
}

func (m Member) in() bool { return m.Changes%2 == 1 }

// members is the file.
type members struct {
	Members []Member `json:"members"`
}

// OpenMembership reads the membership of a host. A certificate that has expired or is another host's is an error.
func OpenMembership(o MembershipOptions, now time.Time) (*Membership, error) {
	m := &Membership{o: o, hosts: map[string]Member{}, changed: make(chan struct{})}
	for i, own := range []string{o.CA, o.Cert, o.Key} {
		m.files[i] = own
		if own == "" {
			m.files[i] = filepath.Join(o.Dir, []string{caCert, hostFile + ".crt", hostFile + ".key"}[i])
		}
	}
	if err := m.readMembers(); err != nil {
		return nil, err
	}
	for host, address := range o.Declared {
		if was := m.hosts[host]; was.Changes == 0 || was.in() {
			m.hosts[host] = Member{host, cmp.Or(address, was.Address), max(was.Changes, 1)}
		}
	}
	if m.hosts[o.Host].Changes == 0 {
		m.hosts[o.Host] = Member{Host: o.Host, Changes: 1}
	}
	if err := m.readCertificates(); err != nil {
		return nil, err
	}
	leaf := m.cert.Leaf
	switch {
	case leaf.Subject.CommonName != o.Host && !slices.Contains(leaf.DNSNames, o.Host):
		return nil, messages.Errorf(messages.FailedPrecondition, m.files[1], "the certificate is that of %s, and this host is %s", leaf.Subject.CommonName, o.Host).
			WithHint("a certificate for a host of a cluster has the host's name as its common name and as a DNS name")
	case now.After(leaf.NotAfter):
		return nil, messages.Errorf(messages.FailedPrecondition, m.files[1], "the certificate expired on %s", leaf.NotAfter.Format(time.DateOnly)).WithHint("put a new one there, or join again")
	}
	return m, nil
}

func (m *Membership) readMembers() error {
	path := filepath.Join(m.o.Dir, membersFile)
	text, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var file members
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	if err != nil {
		return messages.Errorf(messages.FailedPrecondition, path, "the members of the cluster can't be read: %w", err).WithHint("join again, or take the file of another member and put this host's peers there")
	}
	for _, x := range file.Members {
		m.hosts[x.Host] = x
	}
	return nil
}

// readCertificates reads the files that have changed. Torn files leave the old ones in force.
func (m *Membership) readCertificates() error {
	var stamps [3]stamp
	for i, path := range m.files {
		stamps[i] = stampOf(path)
	}
	if stamps == m.stamps && m.cas != nil {
		return nil
	}
	text, err := read(m.files[0])
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(text) {
		err = errors.New("no certificate is in it")
	}
	if err != nil {
		return messages.Errorf(messages.FailedPrecondition, m.files[0], "there is no CA of the cluster to read: %w", err).WithHint("it is a PEM file with the CA that issued the members' certificates")
	}
	cert, err := loadPair(m.files[1], m.files[2])
	if err == nil && cert.Leaf == nil {
		cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0])
	}
	if err != nil {
		return messages.Errorf(messages.FailedPrecondition, m.files[1], "the certificate and its key can't be used: %w", err).WithHint("they are PEM files, the key without a password")
	}
	m.cas, m.cert, m.stamps = pool, cert, stamps
	return nil
}

// now is the newest material.
func (m *Membership) now() (tls.Certificate, *x509.CertPool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.readCertificates()
	return m.cert, m.cas
}

// Server is for the cluster port. A client may come without a certificate, to join; one of another CA is refused. No session is resumed: it
// would not be looked at again.
func (m *Membership) Server() *tls.Config {
	cert, cas := m.now()
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: cas, SessionTicketsDisabled: true}
}

// Client is for the cluster port of a host, whose certificate must name it.
func (m *Membership) Client(host string) *tls.Config {
	cert, cas := m.now()
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, RootCAs: cas, ServerName: host}
}

// IsMember tells whether another host belongs to the cluster.
func (m *Membership) IsMember(host string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return host != m.o.Host && m.hosts[host].in()
}

// Hosts are the other members, with the addresses of their cluster ports.
func (m *Membership) Hosts() map[string]string {
	out := map[string]string{}
	for _, x := range m.All() {
		if x.in() && x.Host != m.o.Host {
			out[x.Host] = x.Address
		}
	}
	return out
}

// Removed are the other hosts that were removed.
func (m *Membership) Removed() (out []string) {
	for _, x := range m.All() {
		if !x.in() && x.Host != m.o.Host {
			out = append(out, x.Host)
		}
	}
	return out
}

// All are the hosts that have ever joined, this one too, by name.
func (m *Membership) All() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sorted()
}

func (m *Membership) sorted() []Member {
	return slices.SortedFunc(maps.Values(m.hosts), func(a, b Member) int { return strings.Compare(a.Host, b.Host) })
}

// Changed is closed at the next change of the members.
func (m *Membership) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Declares tells whether the configuration says where a host is: what others say of it counts less.
func (m *Membership) Declares(host string) bool { return m.o.Declared[host] != "" }

// Admit makes a host a member, also one that was removed before, or notes its new address.
func (m *Membership) Admit(host, address string) error {
	return m.change(host, func(was Member) Member { return Member{host, cmp.Or(address, was.Address), was.Changes | 1} })
}

// Learn takes what another member says of a host: that it has joined since, or was removed. An address that is known counts more, unless the host has joined again since.
func (m *Membership) Learn(x Member) error {
	return m.change(x.Host, func(was Member) Member {
		if x.Changes > was.Changes {
			was.Host, was.Changes = x.Host, x.Changes
			if x.Address != "" && !m.Declares(x.Host) {
				was.Address = x.Address
			}
		}
		if was.in() && x.in() {
			was.Address = cmp.Or(was.Address, x.Address)
		}
		return was
	})
}

// Moved notes where a member was reached.
func (m *Membership) Moved(host, address string) error {
	return m.change(host, func(was Member) Member {
		if was.in() && !m.Declares(host) {
			was.Address = address
		}
		return was
	})
}

// Expel ends the membership of a host, until it is admitted again.
func (m *Membership) Expel(host string) error {
	return m.change(host, func(was Member) Member { return Member{host, "", was.Changes + was.Changes%2} })
}

// change writes what f makes of a host, and tells it once it is written.
func (m *Membership) change(host string, f func(Member) Member) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, known := m.hosts[host]
	now := f(was)
	if now == was || host == m.o.Host {
		return nil
	}
	m.hosts[host] = now
	text, err := MembersText(m.sorted())
	if err == nil {
		err = Replace(filepath.Join(m.o.Dir, membersFile), text, 0o600)
	}
	if err != nil {
		if delete(m.hosts, host); known {
			m.hosts[host] = was
		}
		return err
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}
