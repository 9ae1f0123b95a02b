// Package nvml asks NVIDIA's management library about the GPUs of this machine: memory, the processes that hold it,
// load, heat, power, ECC, and the faults (Xid, double-bit ECC) that the driver reports. It decides nothing and never
// opens a CUDA context, which would cost some hundred MB on every GPU.
//
// # One owner
//
// The library is dangerous to call at the wrong moment: after Shutdown all handles are invalid. So one goroutine owns it
// and makes every call; a second one only waits for events and is ended before the library is shut down.
//
// # Symbols
//
// go-nvml leaves every function of the library undefined in our binary. calls.c defines them and finds the real one at the
// call, so the binary starts with LD_BIND_NOW=1 and where the compiler links with -z now; a function that the driver lacks
// answers FUNCTION_NOT_FOUND. Elsewhere than on amd64 and arm64 the dynamic linker resolves them lazily and a missing one
// ends the process ("undefined symbol", exit 127), so symbols that came with later drivers are looked up first.
//
// # When the driver goes away
//
// A lost GPU, an unloaded module or an updated driver is no error of Read: the devices stay in the readings, marked lost
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
// A card in MIG mode stands there as its instances, gpuN-migM. A GPU that uses the RAM (GB10, Jetson) is of kind unified and has no capacity: the
// caller knows the RAM. Only what Options.Visible names exists. Where the driver answers for no device, one lost gpu0 gives the reason.
//
// Pids are those of the machine: a coordinator in a container with its own pid namespace doesn't find its workers by them.
//
// Built without cgo (or not for Linux) the package has the same API and says that it is off.
package nvml
