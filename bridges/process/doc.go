// Package process starts, proves, watches and stops child processes that outlive the program that started them.
//
// A process is started in a process group of its own, with a nonce in its environment and its output in a log file. Its
// Handle (pid, start time, boot id of the kernel, nonce) proves later which process is meant, also to a program that did
// not start it. Nothing here signals, watches or trusts a process that did not prove itself.
//
// The log carries a lock, which the process and its children inherit with their output: it tells that something lives also when it hides from
// /proc.
//
// A proof has three answers: Alive, Gone, and Unknown where it can't be told (no descriptors, no permission).
//
// The package knows nothing of what the processes do: no models, engines or ports. It keeps no state that a restart would
// have to restore. It is Linux only, because it uses pidfds and /proc.
package process
