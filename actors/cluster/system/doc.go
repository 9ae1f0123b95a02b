// Package system is protoactor's part of a cluster: remote actors between the hosts, and the seat of the arbiter as an actor with a cluster identity. Who is a
// member and who has the seat is decided by actors/cluster; this package follows it, and is apart from it so that the table knows no library.
package system
