// Package certs holds the certificates of this host: a small CA of its own, the certificates that it issues, and the material that the doors speak
// TLS with, which is read again when its files change.
//
// It opens no listener and knows no protocol. A Source gives a tls.Config that asks for the newest material at each handshake, so that a new
// certificate needs no restart, and a file that can't be used leaves the old one in force.
package certs
