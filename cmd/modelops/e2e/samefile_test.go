//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

// TestOneNameIsOneFile: three names on two hosts, the same file, one of another size, and one of the same size with another content. What differs is served by its
// own host alone, and said where people look. What is the same is served by the other host, also with other flags.
func TestOneNameIsOneFile(t *testing.T) {
	whole, err := os.ReadFile(tiny())
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(whole)
	other[len(other)-1] ^= 1
	files := map[string]map[string][]byte{
		"main_pc": {"same": whole, "size": whole, "hash": whole},
		"pc2":     {"same": whole, "size": append(bytes.Clone(whole), 0), "hash": other},
	}
	dir := t.TempDir()
	main, pc2 := pair(t, func(host string) string {
		preload, context := "preload: [{name: same}, {name: size}, {name: hash}], ", 256
		if host == "pc2" {
			preload, context = "", 512
		}
		declare := ""
		for name, content := range files[host] {
			at := filepath.Join(dir, host+"-"+name+".gguf")
			if err := os.WriteFile(at, content, 0o600); err != nil {
				t.Fatal(err)
			}
			declare += fmt.Sprintf("%s: {path: %q, context_length: %d}, ", name, at, context)
		}
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {%sdeclare: {%s}}\n", preload, declare)
	})
	for _, name := range []string{"same", "size", "hash"} {
		main.awaitPhase(name, "ready")
	}
	for _, d := range []*daemon{main, pc2} {
		d.until(waitLimit, d.at.Host+" has read the two files of one size", func() bool { return len(d.hashes(t)) == 2 })
	}
	for _, d := range []*daemon{main, pc2} {
		d.saysWhatDiffers(t, len(whole)+1)
	}
	if a := pc2.post("/v1/chat/completions", question("same", france)); said(a) != paris || pc2.phaseAt("same", "pc2") != "absent" {
		t.Errorf("the same file: %s; it is %s here", a, pc2.phaseAt("same", "pc2"))
	}
	for _, name := range []string{"size", "hash"} {
		if a := pc2.post("/v1/chat/completions", question(name, france), messages.HostHeader, "main_pc"); a.status != 409 || a.code() != "FAILED_PRECONDITION" || !strings.Contains(string(a.body), "main_pc") {
			t.Errorf("%s of main_pc at pc2: %s", name, a)
		}
		if got := pc2.phaseAt(name, "pc2"); got != "absent" {
			t.Errorf("%s is %s at pc2 before anybody asks for it", name, got)
		}
		if a := pc2.post("/v1/chat/completions", question(name, france)); a.status != 200 || pc2.phaseAt(name, "pc2") != "ready" {
			t.Errorf("%s at pc2: %s; it is %s here", name, a, pc2.phaseAt(name, "pc2"))
		}
		main.answers(name)
	}
	pc2.cli("unload", "size", "--host", "pc2")
	main.kill()
	pc2.until(startLimit, "the same file is taken over", func() bool { return pc2.phaseAt("same", "pc2") == "ready" })
	if got := pc2.phaseAt("size", "pc2"); got != "absent" {
		t.Errorf("another file is taken over: it is %s", got)
	}
}

// saysWhatDiffers finds at a host, wherever people look, that size and hash are other files on the other one, and same isn't.
func (d *daemon) saysWhatDiffers(t *testing.T, larger int) {
	t.Helper()
	noted := func(name string) string {
		for _, note := range d.notes(t) {
			if strings.HasPrefix(note, "model "+name+" is another file on main_pc (") {
				return note
			}
		}
		return ""
	}
	d.until(soonLimit, "size and hash differ", func() bool { return noted("size") != "" && noted("hash") != "" })
	for _, want := range []string{fmt.Sprint(larger, " bytes"), "pc2", "declare one of the two under another name"} {
		if note := noted("size"); !strings.Contains(note, want) {
			t.Errorf("%q isn't in %q", want, note)
		}
	}
	if n := strings.Count(noted("hash"), "sha256 "); n != 2 {
		t.Errorf("%d hashes in %q", n, noted("hash"))
	}
	if noted("same") != "" {
		t.Error(noted("same"))
	}
	if a := d.get("/health"); a.status != 200 || !strings.Contains(string(a.body), "model size is another file on main_pc") {
		t.Errorf("health: %s", a)
	}
	if o := d.cli("why", "size"); !strings.Contains(o.out, "model size is another file on main_pc") {
		t.Errorf("why: %s", o)
	}
	d.until(startLimit, "models shows both as not served", func() bool { return strings.Count(d.cli("models").out, "serves no request of this host") == 2 })
}

// hashes are those that the host keeps of its models' files.
func (d *daemon) hashes(t *testing.T) (out map[string]string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(d.state(), "files.json"))
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

// notes are what GetCluster says somebody should do.
func (d *daemon) notes(t *testing.T) []string {
	t.Helper()
	v, err := d.control(t).GetCluster(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.Notes
}

// phaseAt is the phase of a model on a host, as this one sees it.
func (d *daemon) phaseAt(name, host string) string {
	d.t.Helper()
	for _, m := range d.status().Models {
		if m.Name == name && m.Host == host {
			return m.Phase.String()
		}
	}
	return ""
}
