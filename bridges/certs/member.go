package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"modelops/messages"
)

// The files of a member of a cluster, in ClusterDir.
const (
	MemberCA, MemberCAKey = caCert, caKey
	MemberCert, MemberKey = hostFile + ".crt", hostFile + ".key"
	MembersFile           = membersFile
)

// memberLife is how long the certificate of a member lasts. A host may be off for that long and come back.
const memberLife = 365 * 24 * time.Hour

// IssueMember makes the certificate of a cluster's host, in PEM with the CA's behind it: for servers and clients, with the host's name.
func (a *Authority) IssueMember(host string, public any, now time.Time) ([]byte, error) {
	if !now.Add(early).Before(a.cert.NotAfter) {
		return nil, messages.Errorf(messages.FailedPrecondition, filepath.Join(a.dir, caCert), "the cluster's CA expired on %s", a.cert.NotAfter.Format(time.DateOnly)).
			WithHint("move data_dir/cluster away on all hosts, run `modelops cluster init` on one, and let the others join again")
	}
	want := &x509.Certificate{
		Subject:               pkix.Name{CommonName: host, Organization: []string{"modelops"}},
		DNSNames:              []string{host},
		NotBefore:             now.Add(-early),
		NotAfter:              now.Add(memberLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if want.NotAfter.After(a.cert.NotAfter) {
		want.NotAfter = a.cert.NotAfter
	}
	chain, err := a.sign(want, public)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return out, nil
}

// Certificate is the CA's own.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// RenewMember issues the certificate in a member's folder anew when a third of its life is left, for the same key. A folder without the CA's key has
// certificates of one's own, which only their owner renews.
func RenewMember(dir, host string, now time.Time) error {
	pair, err := loadPair(filepath.Join(dir, MemberCert), filepath.Join(dir, MemberKey))
	if err != nil || pair.Leaf.NotAfter.Sub(now) > memberLife/3 {
		return nil // what is wrong with it, OpenMembership says
	}
	a, err := Open(dir)
	if err != nil || pair.Leaf.CheckSignatureFrom(a.cert) != nil || !slices.Contains(pair.Leaf.DNSNames, host) {
		return nil
	}
	text, err := a.IssueMember(host, pair.Leaf.PublicKey, now)
	if err != nil {
		return err
	}
	return Replace(filepath.Join(dir, MemberCert), text, 0o644)
}

// Replace writes a file whole: after a crash it has its former content or the new one.
func Replace(path string, content []byte, mode fs.FileMode) error {
	if err := replace(path, content, mode); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder last.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		return unwritable(dir, err)
	}
	return nil
}

// MembersText is the content of MembersFile.
func MembersText(all []Member) ([]byte, error) {
	text, err := json.MarshalIndent(members{all}, "", "  ")
	return append(text, '\n'), err
}
