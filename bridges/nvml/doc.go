// Package nvml asks NVIDIA's management library about the GPUs of this machine: memory, the processes that hold it,
// load, heat, power, ECC, and the faults (Xid, double-bit ECC) that the driver reports. It decides nothing and never
// opens a CUDA context, which would cost some hundred MB on every GPU.
//
// # One owner
//
// The library is dangerous to call at the wrong moment: a call after a failed Init, or to a symbol that an older driver
// lacks, ends the process ("undefined symbol", exit 127, no panic to recover). So one goroutine owns it and makes every
// call; a second one only waits for events and is ended before the library is shut down. Symbols that came with later
// drivers are looked up before they are called.
//
// # When the driver goes away
//
// A lost GPU, an unloaded module or an updated driver isn't an error of Read: the devices stay in the readings, lost and
// with the reason, and the library is shut down and opened again after 1 s, 2 s, ... 60 s until it answers. Devices are
// then matched by UUID, so gpu0 stays gpu0 even when the driver counts differently.
//
// A driver that was updated to another version can't be reached from a running process: glibc never unloads a library
// whose symbols were used, so the old one stays. Status then says that modelops has to be restarted; workers outlive that.
//
// # Names and memory
//
// A device is gpuN by the driver's index at first sight; a worker is bound to it by the reading's uuid, given to it as
// CUDA_VISIBLE_DEVICES. Capacity is what programs can have: the total less what the driver keeps for itself, where the
// driver tells (memory info version 2, driver 510); with older drivers its share is part of used_bytes.
//
// Pids are those of the machine: a coordinator in a container with its own pid namespace doesn't find its workers by them.
//
// Built without cgo (or not for Linux) the package has the same words and says that it is off.
package nvml
