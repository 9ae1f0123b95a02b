package certs

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// joined is a folder as a host has it that has joined: a CA and a certificate for servers and clients.
func joined(t *testing.T, host string, until time.Time) string {
	t.Helper()
	dir := t.TempDir()
	a, _, err := Init(dir, "x", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Issue(Request{Name: hostFile, SANs: []string{host}, Life: time.Until(until), own: true}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMembersAreKept(t *testing.T) {
	dir := joined(t, "main_pc", time.Now().Add(time.Hour))
	open := func() *Membership {
		t.Helper()
		m, err := OpenMembership(MembershipOptions{Dir: dir, Host: "main_pc", Declared: map[string]string{"pc2": "a:1", "main_pc": "b:2"}}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := open()
	changed := m.Changed()
	if !m.IsMember("pc2") || m.IsMember("main_pc") || m.IsMember("pc3") {
		t.Error(m.Hosts())
	}
	if err := m.Admit("pc3", "c:3"); err != nil {
		t.Fatal(err)
	}
	<-changed
	if err := m.Admit("pc4", "d:4"); err != nil {
		t.Fatal(err)
	}
	if err := m.Expel("pc4"); err != nil {
		t.Fatal(err)
	}
	again := open()
	if !again.IsMember("pc3") || again.IsMember("pc4") || again.Hosts()["pc3"] != "c:3" || strings.Join(again.Removed(), " ") != "pc4" {
		t.Error(again.Hosts(), again.Removed())
	}
	if err := again.Learn(Member{"pc4", "d:6", 1}); err != nil || again.IsMember("pc4") {
		t.Error("gossip brings a removed member back", err)
	}
	if err := again.Learn(Member{"pc5", "e:7", 1}); err != nil || !again.IsMember("pc5") {
		t.Error(err)
	}
	if err := again.Admit("pc4", "d:5"); err != nil || len(again.Removed()) != 0 || !open().IsMember("pc4") {
		t.Error(err)
	}
	if m.Server().Certificates == nil || m.Client("pc2").ServerName != "pc2" {
		t.Error("no TLS")
	}
}

// What is newer holds, in whatever order three hosts hear of it: a host that was removed and then invited again stays a member.
func TestARemovalDoesntOutliveALaterJoin(t *testing.T) {
	all := make([]*Membership, 3)
	for i := range all {
		var err error
		host := string(rune('a' + i))
		if all[i], err = OpenMembership(MembershipOptions{Dir: joined(t, host, time.Now().Add(time.Hour)), Host: host}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := all[0], all[1], all[2]
	hears := func(m, from *Membership) {
		for _, x := range from.All() {
			if err := m.Learn(x); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(when string, is ...bool) {
		t.Helper()
		for i, m := range all {
			if m.IsMember("pc9") != is[i] {
				t.Errorf("%s: %s has %v, and removed %v", when, m.o.Host, m.Hosts(), m.Removed())
			}
		}
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.Admit("pc9", "x:1"))
	hears(b, a)
	hears(c, b)
	want("it has joined", true, true, true)
	must(a.Expel("pc9"))
	hears(b, a)
	want("c hasn't heard of the removal", false, false, true)
	hears(a, c)
	want("c is behind", false, false, true)
	must(a.Admit("pc9", "x:2"))
	hears(a, b)
	want("b is behind", true, false, true)
	hears(c, b)
	hears(b, a)
	hears(c, b)
	hears(a, c)
	want("it has joined again", true, true, true)
	must(b.Expel("pc9"))
	must(c.Expel("pc9"))
	hears(b, c)
	hears(a, b)
	want("two have removed it at once", false, false, false)
	must(b.Admit("pc9", "x:3"))
	must(b.Moved("pc9", "x:4"))
	again, err := OpenMembership(b.o, time.Now())
	if err != nil || again.Hosts()["pc9"] != "x:4" {
		t.Error(err, again.Hosts())
	}
	hears(a, again)
	if !a.IsMember("pc9") || a.Hosts()["pc9"] != "x:4" {
		t.Error("a start forgets how often it has joined", a.All())
	}
}

func TestAWrongCertificateIsRefused(t *testing.T) {
	dir := joined(t, "pc9", time.Now().Add(time.Hour))
	if _, err := OpenMembership(MembershipOptions{Dir: dir, Host: "main_pc"}, time.Now()); messages.CodeOf(err) != messages.FailedPrecondition || !strings.Contains(err.Error(), "this host is main_pc") {
		t.Error(err)
	}
	if _, err := OpenMembership(MembershipOptions{Dir: dir, Host: "pc9"}, time.Now().Add(24*time.Hour)); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Error(err)
	}
	if _, err := OpenMembership(MembershipOptions{Dir: t.TempDir(), Host: "pc9"}, time.Now()); messages.CodeOf(err) != messages.FailedPrecondition {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, membersFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMembership(MembershipOptions{Dir: dir, Host: "pc9"}, time.Now()); err == nil || !strings.Contains(err.Error(), membersFile) {
		t.Error(err)
	}
}

// A renewed certificate is used without a restart, and a torn file leaves the old one in force.
func TestARenewedCertificateOfAMember(t *testing.T) {
	dir := joined(t, "pc2", time.Now().Add(time.Hour))
	m, err := OpenMembership(MembershipOptions{Dir: dir, Host: "pc2"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		c, _ := x509.ParseCertificate(m.Server().Certificates[0].Certificate[0])
		return c.SerialNumber.String()
	}
	first := serial()
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Issue(Request{Name: hostFile, SANs: []string{"pc2", "pc2.lan"}, Life: time.Hour, own: true}, time.Now()); err != nil {
		t.Fatal(err)
	}
	second := serial()
	if second == first {
		t.Error("the old certificate is still in force")
	}
	if err := os.WriteFile(filepath.Join(dir, hostFile+".crt"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial() != second {
		t.Error("a torn file took the certificate away")
	}
}
