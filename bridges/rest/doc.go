// Package rest is the one HTTP server. It serves a few pages by hand (/, /health, /running, /metrics), every operation that has an http rule in
// operations.proto by generated routes, and hands every other path to the inference API that it is given.
//
// It refuses requests that a web page elsewhere could have made: a Host that isn't this machine's (DNS rebinding), or a write with a foreign
// Origin. It gets its listener from cmd, and doesn't depend on models or engines.
package rest
