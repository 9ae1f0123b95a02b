package join

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"modelops/bridges/certs"
	"modelops/messages"
)

// joinedFile holds the hash of the token by which a host has joined: started again with the same token, it just serves.
const joinedFile = "joined"

// joiningDir is where a membership is made. A host that dies while it joins has this folder, and no membership.
func joiningDir(dataDir string) string { return certs.ClusterDir(dataDir) + ".joining" }

// Init makes a cluster of one host, and its CA. One that is there is kept.
func Init(dataDir, host string, now time.Time) (made bool, err error) {
	dir := certs.ClusterDir(dataDir)
	if _, err := os.Stat(filepath.Join(dir, certs.MemberCert)); err == nil {
		_, err := certs.OpenMembership(certs.MembershipOptions{Dir: dir, Host: host}, now)
		return false, err
	}
	work := joiningDir(dataDir)
	if err := os.RemoveAll(work); err != nil {
		return false, unwritable(work, err)
	}
	key, err := keyIn(work)
	if err != nil {
		return false, err
	}
	ca, _, err := certs.Init(work, host, now)
	if err != nil {
		return false, err
	}
	text, err := ca.IssueMember(host, key.Public(), now)
	if err == nil {
		err = certs.Replace(filepath.Join(work, certs.MemberCert), text, 0o644)
	}
	if err != nil {
		return false, err
	}
	return true, settle(dataDir)
}

// keyIn is the key of a folder, made with it when there is none. One that can't be read is kept: it may be that of a running host, whose certificate is for
// no other key.
func keyIn(dir string) (crypto.Signer, error) {
	path := filepath.Join(dir, certs.MemberKey)
	switch text, err := os.ReadFile(path); {
	case err == nil:
		return signer(path, text)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, badKey(path, err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, unwritable(dir, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, unwritable(dir, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, certs.Replace(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// signer is the key in a file's text.
func signer(path string, text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, badKey(path, errors.New("there is no PEM block"))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, badKey(path, err)
	}
	if signer, ok := key.(*ecdsa.PrivateKey); ok {
		return signer, nil
	}
	return nil, badKey(path, fmt.Errorf("it is of the type %T", key))
}

func badKey(path string, err error) error {
	return messages.Errorf(messages.FailedPrecondition, path, "the host's key can't be read, and isn't replaced: %w", err).
		WithHint("make it readable to this user or put its backup there; to go on with a new key, move the file away")
}

// settle makes the folder that is ready the membership, at once.
func settle(dataDir string) error {
	dir := certs.ClusterDir(dataDir)
	if err := os.Rename(joiningDir(dataDir), dir); err != nil { // over an empty folder too
		return messages.Errorf(messages.Conflict, dir, "the files of the cluster can't be put there: %w", err).WithHint("move what is in that folder away")
	}
	return certs.SyncDir(dataDir)
}

// keep writes what makes this host a member, the mark that it has joined last.
func (g *guest) keep(dir string, a *answer) error {
	members, err := certs.MembersText(a.Members)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
		mode    fs.FileMode
	}{
		{certs.MemberCAKey, a.CAKey, 0o600}, {certs.MemberCA, a.CA, 0o644}, {certs.MemberCert, a.Certificate, 0o644},
		{certs.MembersFile, members, 0o600}, {joinedFile, []byte(hashOf(g.token.Secret[:]) + "\n"), 0o600},
	} {
		if err := certs.Replace(filepath.Join(dir, f.name), f.content, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// check makes sure that an answer fits the token and this host's key, so that nothing is written that can't be used.
func (g *guest) check(a *answer, key crypto.Signer, now time.Time) error {
	wrong := func(why string) error {
		return messages.NewError(messages.Internal, "host "+g.token.Host, "its answer can't be used: "+why).WithHint("use the same modelops on both hosts")
	}
	ca, err := tls.X509KeyPair(a.CA, a.CAKey)
	if err != nil || sha256.Sum256(ca.Certificate[0]) != g.token.CA {
		return wrong("the CA isn't the token's")
	}
	block, _ := pem.Decode(a.Certificate)
	if block == nil {
		return wrong("there is no certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return wrong(err.Error())
	}
	if public, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(key.Public()) {
		return wrong("the certificate is for another key")
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Leaf)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: g.o.Host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return wrong(err.Error())
	}
	return nil
}

func unwritable(path string, err error) error {
	return messages.Errorf(messages.FailedPrecondition, path, "it can't be written: %w", err).WithHint("data_dir must be a directory that this user may write")
}
