package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"modelops/messages"
)

// Load reads the configuration of one host. An empty path means no file: the built-in one, which is cluster.yaml, with
// paths relative to the working directory. env is as os.Environ gives it; a host that is not empty is the flag's and
// wins over MOC_HOST and the file. The error is of type Problems and holds everything that is wrong.
func Load(path string, env []string, host string) (*Config, error) {
	l := loader{vars: variables(env), file: path}
	return l.load(path, host)
}

type loader struct {
	vars     map[string]string
	file     string
	folder   string
	problems Problems
	notices  []string
	secrets  []string
}

func (l *loader) load(path, host string) (*Config, error) {
	root := l.read(path)
	name := l.hostName(root, host)
	hosts := root.get("hosts")
	l.keys(forHost(root, nil))
	c := l.view(forHost(root, hosts.get(name)), name, host != "", false)
	l.others(root, hosts, name)
	if hosts != nil && hosts.get(name) == nil && hosts.kind == mapping {
		l.notices = append(l.notices, fmt.Sprintf("%s: hosts has nothing for this host, %q", hosts.at, name))
	}
	if len(l.problems) > 0 {
		for i := range l.problems {
			l.problems[i].What = without(l.problems[i].What, l.secrets)
		}
		return nil, l.problems.sorted()
	}
	c.notices = append(l.notices, c.notices...)
	return c, nil
}

// read gets the tree of the file, nil when it is empty or absent or can't be read.
func (l *loader) read(path string) *node {
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		l.problems = append(l.problems, Problem{Where: path, What: "the working directory is gone: " + err.Error()})
		return nil
	}
	l.folder = folder
	r := reader{file: path}
	text := []byte(shipped)
	if path == "" {
		r.file = "built-in"
	} else if text, err = readText(path); err != nil {
		p := Problem{Where: path, What: "can't be read: " + err.Error(), Expected: "a readable file"}
		if errors.Is(err, fs.ErrNotExist) {
			p = Problem{Where: path, What: "there is no such file", Expected: "a configuration; without --config the built-in one is used"}
		}
		l.problems = append(l.problems, p)
		return nil
	}
	root := r.parse(string(text))
	l.problems = append(l.problems, r.problems...)
	if (root == nil || root.isNull()) && len(r.problems) == 0 {
		l.notices = append(l.notices, path+": the file is empty, so every key has its default")
		return nil
	}
	return root
}

// maxText bounds a configuration, which may be a pipe.
const maxText = 16 << 20

func readText(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(text) > maxText {
		err = fmt.Errorf("it has more than %d MiB", maxText>>20)
	}
	return text, err
}

// hostName says which host this is before the tree can be merged for it.
func (l *loader) hostName(root *node, flag string) string {
	if flag != "" {
		return flag
	}
	if v := l.vars["MOC_HOST"]; v != "" {
		return v
	}
	if n := root.get("host"); n != nil && n.kind == scalar && !n.isNull() {
		d := decoder{vars: l.vars, origins: map[string]origin{}}
		if n, ok := d.substituted(n, "host"); ok && n.text != "" {
			return n.text
		}
	}
	return defaults().Host
}

// view is the configuration as one host sees it. Another host's is only checked; where it needs a variable that is
// unknown here, only key by key.
func (l *loader) view(root *node, name string, flagged, other bool) *Config {
	e := environment{vars: l.vars}
	if !other {
		l.keys(root) // a variable that covers a mistake does not mend it
		root = e.apply(root)
		l.notices = append(l.notices, e.notices...)
	}
	if flagged && (root == nil || root.kind == mapping) {
		root = root.with("host", &node{text: name, literal: true, at: origin{variable: "--host"}})
	}
	c := defaults()
	d := l.decode(root, &c, other)
	d.problems = append(d.problems, e.problems...)
	c.origins, c.secrets = d.origins, d.secrets
	if !d.unknown {
		c.settle(d, root, l.folder)
	}
	l.problems = append(l.problems, d.problems...)
	return &c
}

// keys checks each value alone.
func (l *loader) keys(root *node) {
	c := defaults()
	l.problems = append(l.problems, l.decode(root, &c, true).problems...)
}

func (l *loader) decode(root *node, c *Config, lenient bool) *decoder {
	d := &decoder{vars: l.vars, macros: root.walk("models", "macros"), lenient: lenient, origins: map[string]origin{}}
	d.whole(root, c)
	l.secrets = append(l.secrets, d.secrets...)
	return d
}

// forHost is the file as a host sees it: without hosts, its own part laid over the rest.
func forHost(root, override *node) *node {
	if root == nil || root.kind != mapping {
		return root
	}
	root = root.without("hosts")
	if override != nil && override.kind == mapping {
		root = merge(root, override.without("host"))
	}
	return root
}

// others checks the file as every other host will see it, so that a mistake shows on the host where it was written.
func (l *loader) others(root, hosts *node, name string) {
	if hosts == nil || hosts.isNull() {
		return
	}
	if hosts.kind != mapping {
		l.problems = append(l.problems, hosts.at.problem("hosts", "is "+hosts.found(), "host names, each with the sections that differ there"))
		return
	}
	for _, f := range hosts.fields {
		switch {
		case !messages.PlainName.MatchString(f.name):
			l.problems = append(l.problems, f.at.problem(join("hosts", f.name), "this is no host name", messages.GoodPlainName))
		case f.val.kind != mapping && !f.val.isNull():
			l.problems = append(l.problems, f.val.at.problem(f.val.path, "is "+f.val.found(), "the sections that differ there"))
		case f.name != name:
			l.view(forHost(root, f.val), f.name, false, true)
		}
		if n := f.val.get("host"); n != nil {
			l.problems = append(l.problems, n.at.problem(n.path, "a host can't rename itself", "the name as the key under hosts"))
		}
	}
}
