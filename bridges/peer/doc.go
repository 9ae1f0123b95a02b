// Package peer connects the hosts of a cluster. Each host listens on its cluster port, and is an ordinary NATS client of every other host's embedded
// server, dialled through that port.
//
//	cluster port   TLS 1.3, or plain TCP on loopback where there are no certificates. The client's first line is `MODELOPS/1 PROTOCOL HOST`.
//	  nats         bridged to the journal's server; the answer `OK SECRET` holds the password of user `peer HOST`, good for one connection
//	  others       given to the handler that is registered for them: forward, join
//	link           our NATS client at a peer. It is up once both have said hello and their protocols fit
//	subjects       peer.v1.hello, beat, ask, call, report, page; bodies are protobuf of messages, answers are PeerAnswer
//
// A request to a peer whose link is down fails at once: nothing is queued. What a peer may send is bounded by its account at the journal, and
// by the list of commands in allow.go. The package decides nothing about members: Trust says who is one, and heartbeats go to a port.
package peer
