package config

import "slices"

// Place is where a configuration keeps the data of its host, and the host's name.
type Place struct{ DataDir, Journal, Host string }

// PlaceOf reads only that of a configuration, which may have mistakes elsewhere. ok is false when the file can't be read, or what it says of these
// is wrong.
func PlaceOf(path string, env []string) (p Place, ok bool) {
	l := loader{vars: variables(env), file: path}
	root := l.read(path)
	name := l.hostName(root, "")
	c := l.view(forHost(root, root.get("hosts").get(name)), name, false, false)
	wrong := slices.ContainsFunc(l.problems, func(p Problem) bool {
		return p.Path == "" || slices.Contains([]string{"data_dir", "journal", "journal.dir", "host"}, p.Path)
	})
	return Place{c.DataDir, c.Journal.Dir, c.Host}, !wrong && c.DataDir != "" && c.Journal.Dir != ""
}
