// Package cluster knows the other hosts: who is heard, who is unreachable, who has left, and whose arbiter places models now.
//
// It owns the table of members, the heartbeats that this host sends, the seat of the arbiter, and protoactor's cluster over them. It doesn't carry messages
// (that is a port), keeps no journal, and decides nothing about memory: an arbiter that takes the seat is still only a voice, and owners decide.
//
//	             heard                  not heard for 700 ms
//	expected ───────────▶ alive ─────────────────────────────▶ unreachable
//	                      │  ▲                                     │
//	      it says that it │  │ heard again: its generation rises   │
//	      leaves, or a new│  └─────────────────────────────────────┘
//	      start is heard  ▼
//	                     gone      never because of silence alone
//
// table.go, member.go, seat.go, beat.go, view.go and notes.go are pure: the simulator runs them as they are. cluster.go and tenure.go give them a
// clock and ports. Only the package system below knows protoactor.
package cluster
