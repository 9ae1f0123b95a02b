// Package access finds out who sends a request: by the operator's credential, by a key of the configuration, by a key that was added at run
// time, by the token of an OpenID Connect issuer, by what an authenticating proxy says, or nobody that is known. It owns the file of added keys.
//
// It doesn't decide what a caller may do: messages.Principal does, from the role and the scope that are found here.
package access
