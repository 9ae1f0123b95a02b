// Package tree holds the actors of one host: how they are spawned and restarted, and the door through which they are reached by id.
//
// All actors of a host are children of one supervisor without state or logic, so that a failing actor, the host's included, is restarted
// alone. A restarted actor reads its journal before it takes the next message.
//
//	supervisor ── host/main_pc
//	           ── arbiter
//	           ── gateway/main_pc
//	           ── gpu/main_pc/cpu …
//	           ── model/main_pc/tiny …      spawned when first spoken to, or when the journal knows them
package tree
