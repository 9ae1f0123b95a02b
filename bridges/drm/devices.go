package drm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"modelops/messages"
)

// Options of Open.
type Options struct {
	// Root holds sys and proc; nil = the machine's own.
	Root fs.FS
	// Env is the daemon's environment, by name.
	Env map[string]string
}

// Devices are the AMD and Intel cards of this machine. Safe for concurrent use.
type Devices struct {
	root  fs.FS
	lists map[string]lists // by vendor
}

// vendor is what differs between the makers of cards.
type vendor struct {
	id, name, kind, product string
	total, used, free       []string // files of a card's device that tell bytes; the first that is there counts
}

var vendors = []vendor{
	{"0x1002", "amd", "rocm", "AMD GPU", []string{"mem_info_vram_total"}, []string{"mem_info_vram_used"}, nil},
	{"0x8086", "intel", "oneapi", "Intel GPU", []string{"lmem_total_bytes", "../lmem_total_bytes", "tile0/physical_vram_size_bytes"}, nil, []string{"lmem_avail_bytes", "../lmem_avail_bytes"}},
}

// card is a card of the machine.
type card struct {
	vendor
	number int    // by the order of the bus, among the vendor's cards with memory
	dir    string // sys/class/drm/cardN/device
	slot   string // its place on the bus: 0000:03:00.0
	uuid   string
}

func (c card) device() string { return c.name + strconv.Itoa(c.number) }

// Open finds the cards at each Read; it never fails.
func Open(o Options) *Devices {
	if o.Root == nil {
		o.Root = os.DirFS("/")
	}
	return &Devices{root: o.Root, lists: map[string]lists{
		"amd":   {list(o.Env, "ROCR_VISIBLE_DEVICES"), list(o.Env, "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")},
		"intel": {list(o.Env, "ZE_AFFINITY_MASK"), list(o.Env, "ONEAPI_DEVICE_SELECTOR")},
	}}
}

var cardName = regexp.MustCompile(`^card\d+$`)

// cards are those that exist for us.
func (d *Devices) cards() []card {
	entries, err := fs.ReadDir(d.root, "sys/class/drm")
	if err != nil {
		return nil
	}
	var all []card
	for _, e := range entries {
		if !cardName.MatchString(e.Name()) {
			continue
		}
		dir := path.Join("sys/class/drm", e.Name(), "device")
		i := slices.IndexFunc(vendors, func(v vendor) bool { return v.id == d.text(dir, "vendor") })
		if i < 0 || !d.hasMemory(dir, vendors[i]) {
			continue
		}
		c := card{vendor: vendors[i], dir: dir, slot: d.slot(dir)}
		if id := d.text(dir, "unique_id"); id != "" {
			c.uuid = "GPU-" + strings.TrimPrefix(id, "0x")
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b card) int { return cmp.Or(strings.Compare(a.slot, b.slot), strings.Compare(a.dir, b.dir)) })
	count := map[string]int{}
	for i := range all {
		all[i].number = count[all[i].name]
		count[all[i].name]++
	}
	return slices.DeleteFunc(all, func(c card) bool { return !d.lists[c.name].show(c) })
}

// hasMemory tells whether the kernel has a file for the card's memory, readable or not.
func (d *Devices) hasMemory(dir string, v vendor) bool {
	return slices.ContainsFunc(v.total, func(name string) bool {
		_, err := fs.Stat(d.root, path.Join(dir, name))
		return err == nil || !errors.Is(err, fs.ErrNotExist)
	})
}

func (d *Devices) text(dir, name string) string {
	b, err := fs.ReadFile(d.root, path.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (d *Devices) slot(dir string) string {
	for line := range strings.Lines(d.text(dir, "uevent")) {
		if slot, ok := strings.CutPrefix(strings.TrimSpace(line), "PCI_SLOT_NAME="); ok {
			return slot
		}
	}
	return ""
}

// number is the first of the files that is there.
func (d *Devices) number(dir string, names ...string) (uint64, error) {
	err := fs.ErrNotExist
	for _, name := range names {
		var b []byte
		if b, err = fs.ReadFile(d.root, path.Join(dir, name)); err == nil {
			return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return 0, err
}

// Read takes a sample of every card. Where the kernel doesn't tell how much is used, it is what processes hold.
func (d *Devices) Read(ctx context.Context) ([]*messages.DeviceReading, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cards := d.cards()
	if len(cards) == 0 {
		return nil, nil
	}
	held := d.held(cards)
	var out []*messages.DeviceReading
	for _, c := range cards {
		out = append(out, d.reading(c, held[c.slot]))
	}
	return out, nil
}

func (d *Devices) reading(c card, held map[int64]uint64) *messages.DeviceReading {
	r := &messages.DeviceReading{Device: c.device(), Kind: c.kind, Name: cmp.Or(d.text(c.dir, "product_name"), c.product), Uuid: c.uuid, EccErrors: -1}
	total, err := d.number(c.dir, c.total...)
	switch {
	case err != nil:
		r.Lost, r.LostReason = true, fmt.Sprintf("its memory can't be read: %v", err)
		return r
	case total == 0:
		r.Lost, r.LostReason = true, "it reports no memory"
		return r
	}
	r.CapacityBytes = total
	for _, pid := range sorted(held) {
		r.Processes = append(r.Processes, &messages.ProcessMemory{Pid: pid, Bytes: held[pid]})
		r.UsedBytes += held[pid]
	}
	if used, err := d.number(c.dir, c.used...); err == nil {
		r.UsedBytes = used
	} else if free, err := d.number(c.dir, c.free...); err == nil {
		r.UsedBytes = total - min(free, total)
	}
	r.UsedBytes = min(r.UsedBytes, total)
	if busy, err := d.number(c.dir, "gpu_busy_percent"); err == nil {
		r.UtilizationPct = uint32(min(busy, 100))
	}
	sensors, _ := fs.Glob(d.root, path.Join(c.dir, "hwmon/hwmon*"))
	for _, s := range sensors {
		if t, err := d.number(s, "temp1_input"); err == nil {
			r.TemperatureC = uint32(t / 1000)
		}
		if p, err := d.number(s, "power1_average", "power1_input"); err == nil {
			r.PowerWatts = float64(p) / 1e6
		}
	}
	return r
}

// Faults is nil: the kernel's log has them.
func (d *Devices) Faults() <-chan *messages.DeviceFault { return nil }

// Status is one sentence for people.
func (d *Devices) Status() string {
	var names []string
	for _, c := range d.cards() {
		names = append(names, c.device())
	}
	if len(names) == 0 {
		return "no AMD or Intel card with memory of its own"
	}
	return "cards of the kernel: " + strings.Join(names, ", ")
}

// Close has nothing to close.
func (d *Devices) Close() error { return nil }
