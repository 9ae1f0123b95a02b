// Package openai is the door for programs that speak the OpenAI HTTP API (and its neighbours of llama-server, Anthropic
// and rerank): it finds the model that a request names, asks the gateway for a place, and passes the bytes through.
//
// It is a pass-through. The body is read once, within a bound, and checked for syntax; only the value of "model" is ever
// changed, in place; everything else, known or not, reaches the engine byte for byte, and so does the answer, chunk by
// chunk. It decides nothing about models, queues or breakers, holds no key of callers, and doesn't know which address it
// is served on.
package openai
