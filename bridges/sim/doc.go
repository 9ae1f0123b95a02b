// Package sim simulates devices behind the same port as real ones. A simulated device has a ledger instead of memory. Tests
// and workers declare what they use; memory of other programs, lost devices and faults are set by calls. There is no chance
// in it: the same calls give the same readings.
//
// All that it shows says "simulated".
package sim
