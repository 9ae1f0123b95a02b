//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestCardsOfSeveralVendors: each card is a device; a model goes to the vendor's card that its declaration names, and its worker sees that one.
func TestCardsOfSeveralVendors(t *testing.T) {
	at := newDriver(t, "two")
	sys := t.TempDir()
	for i, card := range []struct{ vendor, total string }{{"0x1af4", ""}, {"0x1002", "mem_info_vram_total"}, {"0x1002", "mem_info_vram_total"}, {"0x8086", "tile0/physical_vram_size_bytes"}} {
		dir := filepath.Join(sys, fmt.Sprintf("sys/class/drm/card%d/device", i))
		if err := os.MkdirAll(filepath.Join(dir, "tile0"), 0o755); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{"vendor": card.vendor, "uevent": fmt.Sprintf("PCI_SLOT_NAME=0000:0%d:00.0", i), card.total: "17179869184"}
		for name, text := range files {
			if name == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	engine := fmt.Sprintf("%q", os.Args[0]+" "+fakeEngineWord+" --port ${PORT}")
	d := start(t, "models: {declare: {any: {cmd: "+engine+", vram_mb: 4000}, cuda1: {cmd: "+engine+", vram_mb: 2000, env: [CUDA_VISIBLE_DEVICES=1]}, "+
		"hip1: {cmd: "+engine+", vram_mb: 2000, env: [HIP_VISIBLE_DEVICES=1]}, intel: {cmd: "+engine+", vram_mb: 2000, env: [\"ONEAPI_DEVICE_SELECTOR=level_zero:0\"]}, "+
		"hidden: {cmd: "+engine+", vram_mb: 2000, env: [\"CUDA_VISIBLE_DEVICES=\"]}, far: {cmd: "+engine+", vram_mb: 2000, env: [CUDA_VISIBLE_DEVICES=7]}}}\n", append(at.env(), "MODELOPS_DRM_ROOT="+sys)...)
	d.hasDevices("amd0 rocm, amd1 rocm, cpu cpu, gpu0 cuda, gpu1 cuda, intel0 oneapi")
	for model, want := range map[string]struct{ device, variable, value string }{
		"any":    {"gpu/main_pc/gpu0", "CUDA_VISIBLE_DEVICES", "GPU-00000000-0000-0000-0000-000000000000"},
		"cuda1":  {"gpu/main_pc/gpu1", "CUDA_VISIBLE_DEVICES", "1"},
		"hip1":   {"gpu/main_pc/amd1", "HIP_VISIBLE_DEVICES", "1"},
		"intel":  {"gpu/main_pc/intel0", "ONEAPI_DEVICE_SELECTOR", "level_zero:0"},
		"hidden": {"gpu/main_pc/cpu", "CUDA_VISIBLE_DEVICES", ""},
	} {
		if a := d.post("/api/models/load/"+model, nil); a.status != 200 {
			t.Errorf("%s: %s", model, a)
			continue
		}
		if at := d.model(model).GetPlacement().Gpu(); at != want.device {
			t.Errorf("%s is on %s, want %s", model, at, want.device)
		}
		if got, set := d.environOf(model)[want.variable]; got != want.value || !set {
			t.Errorf("%s sees %s=%q, want %q", model, want.variable, got, want.value)
		}
	}
	if a := d.post("/api/models/load/far", nil); a.status == 200 || a.code() != "GPU_UNAVAILABLE" {
		t.Errorf("a device that isn't here: %s", a)
	}
}
