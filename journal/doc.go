// Package journal remembers: every decision of this host, in order, on disk before anyone hears of it. It is the only room that knows
// JetStream streams; it runs the NATS server that holds them and that the bridges connect to.
//
// # What is on disk
//
//	<dir>/lock          flock; holds the pid of the owner
//	<dir>/mark.json     the high-water mark: the last sequence that was acknowledged, at most a second old
//	<dir>/torn/         copies of half-written last records that a crash left and that were cut off at start
//	<dir>/damaged-*/    stores that Restore took out of service
//	<dir>/jetstream/    the NATS store: stream JOURNAL (fsync on each append) and bucket SNAPSHOTS (a cache, may be deleted)
//
// One message is one decision: a protobuf messages.Decision under journal.<host>.<kind>.<id>, with the actor's former sequence in
// Nats-Expected-Last-Subject-Sequence. Those expectations are a chain for each actor.
//
// # Why every start reads every block
//
// NATS does not guard its store: after a flipped byte it starts without a word and leaves the event out, or cuts everything behind it,
// and it writes to the files it opens. So before the server may see the directory, the blocks are read by our own eyes (block.go):
// each record's checksum, the sequence without a gap from 1, each actor's chain, each body as a Decision, and last of all the mark: a journal
// that ends before its mark has lost what was promised. Any finding refuses the start, names the sequence, and leaves every byte
// as it is. Checking only what changed since a clean stop would be faster and would miss what damage is: a byte that changed while nobody
// wrote. A full look costs about 0.6 us of processor time a decision, on all cores: a journal of a million decisions is open after half a
// second, server included.
//
// A process that is killed can leave half of its last record, and nobody was promised that record. So a broken end is accepted when it lies
// behind the mark, is the very last thing in the last block and nothing readable follows; its bytes are kept in torn/. The mark lags the
// acknowledged sequence by up to a second and never leads it.
//
// # How it is read
//
// All actors at once are read from the block files up to the last acknowledged sequence (some 300,000 decisions a second on one core, each
// checksum checked again); a consumer takes five times the processor time for the same. One actor is read over NATS, which has an index of
// subjects: by single steps first, then by a consumer. Follow, and readers from elsewhere (Dial), use consumers. All go through one decoder and one
// check of the chain.
//
// # Who may write
//
// Only the journal's own connection may publish decisions and snapshots. Bridges (Connect) may do all else; guests on the loopback
// listener may read, ask, and have streams of their own. That guards against mistakes, not against a hostile user of this machine: he can make the
// server itself write for him (a push consumer that delivers to a journal subject), and the next start then refuses what no journal wrote.
//
// # What it doesn't do
//
// It does not know what events mean, folds nothing, and keeps no second list of who exists: actors are the subjects of the stream.
package journal
