// Package rest is the one HTTP server: it owns the address, the guards before every request, and the pages about the
// house (/, /health, /status, /running, /metrics, /api/queue, /why/{subject...}). Every other path belongs to the inference API that it is given.
//
// It listens on loopback only, and refuses requests that a web page elsewhere could have made: a Host that isn't this
// machine's (DNS rebinding), or a write with a foreign Origin. It knows no models and no engines.
package rest
