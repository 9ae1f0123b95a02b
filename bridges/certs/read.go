package certs

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxPEM bounds a file of certificates. A bundle of all public CAs has a quarter of it.
const maxPEM = 1 << 20

// read gives a file's text. A pipe or a device would keep a start waiting, or have no end.
func read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is no regular file (%s)", info.Mode().Type())}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has more than %d bytes", maxPEM)}
	}
	return text, err
}

func loadPair(certPath, keyPath string) (tls.Certificate, error) {
	cert, err := read(certPath)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := read(keyPath)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}
