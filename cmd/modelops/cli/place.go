package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"modelops/bridges/config"
	"modelops/messages"
)

const defaultConfig = "cluster.yaml"

// place is where a host's data is on this machine.
type place struct {
	dataDir string
	journal string
	server  string     // the daemon's address by the configuration; empty when the daemon picks a port itself
	daemon  *Addresses // what the last daemon wrote there; nil when there is nothing
}

// loadConfig reads the configuration that the flags name.
func (c *cli) loadConfig(host string) (*config.Config, error) {
	return config.Load(c.configFile(), c.environment(), host)
}

// environment is ours, with the data directory that --data-dir names.
func (c *cli) environment() []string {
	env := os.Environ()
	if c.dataDir != "" {
		dir, err := filepath.Abs(c.dataDir)
		if err != nil { // the working directory is gone
			dir = c.dataDir
		}
		env = append(env, "MOC_DATA_DIR="+dir)
	}
	return env
}

// configFile is the file that --config names, the one in the working directory, or "": the built-in one.
func (c *cli) configFile() string {
	if c.config != "" {
		return c.config
	}
	if _, err := os.Stat(defaultConfig); err == nil {
		return defaultConfig
	}
	return ""
}

// findPlace finds the data directory and the journal. A mistake in the configuration never keeps a question from a running daemon: the daemon is
// looked for in --data-dir, in the directory that the file names all the same, or in the default one, and a warning says so.
func (c *cli) findPlace() (place, error) {
	dir := cmp.Or(c.dataDir, os.Getenv("MOC_DATA_DIR"), filepath.Join(filepath.Dir(c.configFile()), defaultDataDir))
	p := place{dataDir: dir, journal: filepath.Join(dir, "journal"), server: "nats://127.0.0.1:4222"}
	if cfg, err := c.loadConfig(""); err == nil {
		p.dataDir, p.journal, p.server = cfg.DataDir, cfg.Journal.Dir, ""
		if port := cfg.Server.NATSPort; port != 0 {
			p.server = "nats://" + net.JoinHostPort(cfg.Server.Bind, strconv.Itoa(port))
		}
	} else {
		if at, ok := config.PlaceOf(c.configFile(), c.environment()); ok {
			p.dataDir, p.journal = at.DataDir, at.Journal
		}
		c.warnOf(err, p.dataDir)
	}
	a, err := readAddresses(p.dataDir)
	p.daemon = a
	return p, err
}

// ownPlace is findPlace for commands that change the directory's files: a configuration that was named and doesn't tell the directory ends them,
// unless the directory was named too. What else is wrong with it is nothing to them.
func (c *cli) ownPlace() (place, error) {
	if c.config != "" && c.dataDir == "" {
		if _, ok := config.PlaceOf(c.config, c.environment()); !ok {
			_, err := c.loadConfig("")
			return place{}, err
		}
	}
	return c.findPlace()
}

const defaultDataDir = ".modelops"

// warnOf says once that the configuration can't be used, on one line.
func (c *cli) warnOf(err error, dataDir string) {
	if c.warned {
		return
	}
	c.warned = true
	first, more, _ := strings.Cut(err.Error(), "\n")
	if more != "" {
		first += fmt.Sprintf(" (and %d more)", strings.Count(more, "\n")+1)
	}
	fmt.Fprintf(c.stderr, "warning: the configuration can't be used, so the data directory %s is taken: %s\n", dataDir, first)
}

// readAddresses reads the file that a daemon writes when it has started; nil when there is none.
func readAddresses(dataDir string) (*Addresses, error) {
	path := filepath.Join(dataDir, AddressFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	a := &Addresses{}
	if err == nil {
		err = json.Unmarshal(b, a)
	}
	if err != nil {
		return nil, messages.Errorf(messages.Unavailable, path, "the daemon's addresses can't be read: %w", err).WithHint("name the daemon with --server")
	}
	return a, nil
}

// named is the address from the flag or the environment.
func (c *cli) named() string { return cmp.Or(c.server, os.Getenv("MODELOPS_SERVER")) }

// serverURL is the daemon's address; left is the file that it was read from, if any.
func (c *cli) serverURL() (url, left string, err error) {
	if named := c.named(); named != "" {
		return named, "", nil
	}
	p, err := c.findPlace()
	if err != nil {
		return "", "", err
	}
	if p.daemon != nil && p.daemon.NATS != "" {
		return p.daemon.NATS, filepath.Join(p.dataDir, AddressFile), nil
	}
	if c.dataDir != "" || p.server == "" { // a daemon at the default address serves another data directory
		return "", "", messages.NewError(messages.Unavailable, p.dataDir, "no daemon serves this data directory").
			WithHint("start it with `modelops serve`, or name another with --server")
	}
	return p.server, "", nil
}
