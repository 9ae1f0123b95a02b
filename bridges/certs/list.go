package certs

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Entry is a certificate of the folder.
type Entry struct {
	Name        string    `json:"name"`
	Kind        string    `json:"kind"` // ca, host or client
	Names       []string  `json:"names,omitempty"`
	NotAfter    time.Time `json:"not_after"`
	Fingerprint string    `json:"sha256"`
	File        string    `json:"file"`
}

// List shows the certificates of a folder, the CA first. The error is NotFound when there is no CA.
func List(dir string) ([]Entry, error) {
	if _, err := Open(dir); err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, path := range paths {
		if c, err := ReadCertificate(path); err == nil {
			out = append(out, entryOf(c, path))
		}
	}
	slices.SortStableFunc(out, func(a, b Entry) int {
		return strings.Compare(order[a.Kind]+a.Name, order[b.Kind]+b.Name)
	})
	return out, nil
}

var order = map[string]string{"ca": "0", "host": "1", "client": "2"}

func entryOf(c *x509.Certificate, path string) Entry {
	e := Entry{Name: strings.TrimSuffix(filepath.Base(path), ".crt"), Kind: "host", Names: c.DNSNames, NotAfter: c.NotAfter, Fingerprint: FingerprintOf(c), File: path}
	for _, ip := range c.IPAddresses {
		e.Names = append(e.Names, ip.String())
	}
	switch {
	case c.IsCA:
		e.Kind = "ca"
	case slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		e.Kind = "client"
	}
	return e
}

// ReadCertificate reads the first certificate of a PEM file.
func ReadCertificate(path string) (*x509.Certificate, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, os.ErrInvalid
	}
	return x509.ParseCertificate(block.Bytes)
}
