// Package engine is the small embedded inference engine: it loads GGUF models of the llama architecture and answers in
// llama-server's HTTP protocol. It runs as a child process (`modelops worker`) like any other engine and imports no other
// package of this repository.
//
// It owns: the file format (gguf.go, quant.go), the tokenizer, the chat template (template*.go), the forward pass
// (model.go, forward.go, kernel.go), sampling, the slots and the server (serve.go, http_*.go).
//
// It does not do: GPUs, grammars and JSON schemas, tool calls, images, LoRA, several choices per request, byte-level
// ("gpt2") tokenizers. What it can't do it refuses with a message that says so.
//
// One request runs in the goroutine of its HTTP handler from the first prompt token to the last answer token, holding
// one slot (a KV cache). Options.Threads bounds how many slots compute at the same instant; they take turns per token.
package engine
