package nvml

import (
	"io/fs"
	"os"
	"path"
	"strings"
)

// root is the file system that holds sys.
func (o Options) root() fs.FS {
	if o.Root != nil {
		return o.Root
	}
	return os.DirFS("/")
}

// onBus tells whether the machine has NVIDIA cards that compute or draw.
func onBus(root fs.FS) bool {
	devices, err := fs.ReadDir(root, "sys/bus/pci/devices")
	if err != nil {
		return false
	}
	for _, d := range devices {
		is := func(file, prefix string) bool {
			text, err := fs.ReadFile(root, path.Join("sys/bus/pci/devices", d.Name(), file))
			return err == nil && strings.HasPrefix(string(text), prefix)
		}
		if is("vendor", "0x10de") && is("class", "0x03") {
			return true
		}
	}
	return false
}
