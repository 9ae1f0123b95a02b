// Package cpu shows the processor as a device whose memory is a budget of RAM, so that a machine without a GPU serves
// models by the same ledger and the same rules.
//
// # The sums
//
// Other programs use the RAM too, so a plain "used" would be wrong: what they hold outside of the budget does not reduce
// what models can get. With
//
//	total   the RAM of the machine, or less where a cgroup limits this process
//	ours    what the workers' process trees hold
//	others  total - available - what the workers hold of it (their anonymous and shared memory: pages of model files that are
//	        mapped count as available)
//
// used_bytes is ours + max(0, others - (total - budget)): the workers, and the part of other programs that has grown into
// the budget. A worker is listed under the pid it was started with, together with its children and its process group.
//
// Reading walks /proc once for all workers, some 50 us a process of the machine: for about once a second, not for a hot path.
// It reads /proc and /sys/fs/cgroup only, keeps no goroutine and holds nothing open.
package cpu
