// Package join makes a cluster on a host, and lets other hosts join it.
//
//	token   one word: whose it is, where that host is reached, the SHA-256 of the cluster's CA, and a secret. The host that made it keeps the secret's hash
//	joiner  connects over TLS and checks that the other end is the token's host by the CA's SHA-256, before it says the secret. It sends its name and a
//	        request for a certificate, and gets certificate, CA, CA's key and the members
//	files   are made in data_dir/cluster.joining, and renamed to data_dir/cluster when all are there
//
// The inviting host spends the token on a name and a key, before it answers. The same name and key may ask again while the token lives, so that a crash
// between the two costs nothing; everybody else is refused. Every member has the CA's key, and so may invite.
package join
