// Package sim is a false world that fills the same ports as the real one. Its devices have a ledger instead of memory:
// tests and workers that declare a use drive it, other programs, lost devices and faults are played. It never guesses and
// never rolls dice, so that the same calls give the same readings.
//
// Whatever it shows says "simulated".
package sim
