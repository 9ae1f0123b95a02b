// Package control holds the operations behind every door, each once: what a person or a program may ask of a host beside inference.
package control
