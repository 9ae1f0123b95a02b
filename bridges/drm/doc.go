// Package drm shows the AMD and Intel cards of this machine as the kernel shows them under /sys/class/drm: memory, use, load, heat, power, and
// what each process holds. It opens no device and loads no library of a vendor.
//
// AMD's cards are amd0, amd1, ... and Intel's intel0, ..., in the order of the bus, which is how their runtimes count. Memory is mem_info_vram_*
// of amdgpu, and lmem_*_bytes or physical_vram_size_bytes of i915 and xe. A card without memory of its own (integrated graphics, a virtual
// display) is no device; one whose memory can't be read is a lost one with the reason.
//
// What a process holds stands in its fdinfo (drm-resident-* and drm-memory-*, for each client of the card once), and for ROCm in
// /sys/class/kfd/kfd/proc; the larger figure counts.
//
// Only the cards exist that the daemon's own ROCR_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES, or ZE_AFFINITY_MASK and ONEAPI_DEVICE_SELECTOR, name.
package drm
