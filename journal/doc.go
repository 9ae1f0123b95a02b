// Package journal stores every decision of this host, in order, and returns from an append once the decision is on disk. It is the only
// package that knows JetStream streams. It runs the NATS server that holds them and that the bridges connect to.
//
// # What is on disk
//
//	<dir>/lock          flock; holds the pid of the owner
//	<dir>/mark.json     the high-water mark: the last sequence that was acknowledged, at most a second old
//	<dir>/scans.json    the scan cache: what each sealed block held when it was last read whole; may be deleted
//	<dir>/torn/         copies of half-written last records that a crash left and that were cut off at start
//	<dir>/damaged-*/    stores that Restore or Repair took out of service
//	<dir>/jetstream/    the NATS store: stream JOURNAL (fsync on each append) and bucket SNAPSHOTS (a cache, may be deleted)
//
// One message is one decision: a protobuf messages.Decision under journal.<host>.<kind>.<id>, with the actor's former sequence in
// Nats-Expected-Last-Subject-Sequence. Those expectations form a chain for each actor.
//
// # What a start verifies
//
// NATS does not guard its store: after a flipped byte it starts without an error and leaves the decision out, or drops everything behind
// it, and it writes to the files it opens. So this package reads the blocks itself (block.go) before the server may open the directory. It
// checks each record's checksum, that no sequence from 1 on is missing, each actor's chain, that each body has the shape of a Decision,
// and the mark: a journal that ends before its mark has lost acknowledged decisions. Any finding refuses the start, names the sequence,
// and leaves every byte as it is.
//
// A start does not read every block. A sealed block whose inode, size, mtime and ctime are those of the scan cache counts as unchanged,
// and its cached scan takes part in the checks of gaps and chains (scancache.go). Only the last block, new blocks and changed ones are
// read. The skipped blocks are read in the background some seconds after the start: a byte that flips on the disk changes no time, so only
// that reading finds it, and from then on the journal refuses appends and Health says why. Without the cache every block is read before
// the start, at some 2 us of processor time a decision, on all cores. Verify, Restore and a start that is read-only never use the cache.
//
// A process that is killed can leave half of its last record. That record was never acknowledged, so a broken end is cut off when it lies
// behind the mark, is the last thing in the last block and nothing readable follows; its bytes are kept in torn/. The mark lags the
// acknowledged sequence by up to a second and never leads it.
//
// A start also opens every event that it reads, as an actor would. A journal with events that this build can't read, because a newer build or
// one from before the freeze of the events wrote them, refuses the start and is not damaged: Report.Readable.
//
// # How it is read
//
// Replay without an actor reads the block files up to the last acknowledged sequence (some 300,000 decisions a second on one core, each
// checksum checked again); a consumer takes five times the processor time for the same. Replay of one actor goes over NATS, which has an
// index of subjects: single reads first, then a consumer. Read fetches single decisions by sequence, from the blocks. Follow uses a
// consumer. Readers from elsewhere (Remote) ask for pages through an operation. All of them but Read check the chain.
//
// # Who may connect
//
// Only connections of this process reach the account that holds the streams: the journal's own, which alone may publish decisions and snapshots,
// and those of bridges (Connect). A client of the listener presents a key (callers.go) and gets into an account that it shares with nobody but
// other connections of the same key. That account has no JetStream, and an allow-list says which subjects the key's role may publish and
// subscribe to. So a caller sees no subject of the journal or of another caller, not even an inbox, and the account in which a request
// arrives says whose it is. A client without a key, or with an unknown one, is refused.
//
// # What never changes
//
// Names of headers, the envelope (messages.Decision), names and numbers of events: a build reads the journals of every build before it.
// testdata/journal holds journals that must be readable for ever; golden_test.go says how they are made and fails when one is rewritten. An
// event's meaning changes only with a new version of the event; messages upcasts older ones when they are read.
//
// # What it does not do
//
// It does not know what events mean and folds nothing. It keeps no second list of actors: they are the subjects of the stream.
package journal
