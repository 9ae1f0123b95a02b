package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
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
	members map[string]string // host to address
	removed map[string]bool
	changed chan struct{}
	stamps  [3]stamp
	cas     *x509.CertPool
	cert    tls.Certificate
}

// members is the file.
type members struct {
	Members []member `json:"members"`
	Removed []string `json:"removed,omitempty"`
}

type member struct {
	Host    string `json:"host"`
	Address string `json:"address"`
}

// OpenMembership reads the membership of a host. A certificate that has expired or is another host's is an error.
func OpenMembership(o MembershipOptions, now time.Time) (*Membership, error) {
	m := &Membership{o: o, members: map[string]string{}, removed: map[string]bool{}, changed: make(chan struct{})}
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
		if !m.removed[host] {
			m.members[host] = address
		}
	}
	delete(m.members, o.Host)
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
		m.members[x.Host] = x.Address
	}
	for _, host := range file.Removed {
		m.removed[host] = true
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

// IsMember tells whether a host belongs to the cluster.
func (m *Membership) IsMember(host string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.members[host]
	return ok
}

// Hosts are the other members, with the addresses of their cluster ports.
func (m *Membership) Hosts() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.members)
}

// Removed are the hosts that were removed for good.
func (m *Membership) Removed() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.removed))
}

// Changed is closed at the next change of the members.
func (m *Membership) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Admit makes a host a member, also one that was removed before, or notes its new address.
func (m *Membership) Admit(host, address string) error {
	return m.change(func() bool {
		was, known := m.members[host]
		if host == m.o.Host || known && (was == address || address == "") {
			return false
		}
		delete(m.removed, host)
		m.members[host] = address
		return true
	})
}

// Learn takes a member that another member told. One that was removed here stays out, and an address that is known counts more.
func (m *Membership) Learn(host, address string) error {
	m.mu.Lock()
	_, known := m.members[host]
	out := known || m.removed[host]
	m.mu.Unlock()
	if out {
		return nil
	}
	return m.Admit(host, address)
}

// Expel ends the membership of a host for good.
func (m *Membership) Expel(host string) error {
	return m.change(func() bool {
		if m.removed[host] {
			return false
		}
		delete(m.members, host)
		m.removed[host] = true
		return true
	})
}

// change writes what f has changed, and tells it once it is written.
func (m *Membership) change(f func() bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	were, gone := maps.Clone(m.members), maps.Clone(m.removed)
	if !f() {
		return nil
	}
	text, err := MembersText(m.members, slices.Sorted(maps.Keys(m.removed)))
	if err == nil {
		err = Replace(filepath.Join(m.o.Dir, membersFile), text, 0o600)
	}
	if err != nil {
		m.members, m.removed = were, gone
		return err
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}
