// Package tree is who is spawned under whom, with which back-off, and the door through which an actor is reached by name.
//
// All actors of a host are children of one supervisor that has no state and no logic of its own: so a failing actor, the host's
// included, is restarted alone. A restarted actor reads its journal before it takes the next message.
//
//	supervisor ── host/main_pc
//	           ── arbiter
//	           ── gateway/main_pc
//	           ── gpu/main_pc/cpu …
//	           ── model/main_pc/tiny …      spawned when first spoken to, or when the journal knows them
package tree
