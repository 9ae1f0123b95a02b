// Package train fine-tunes small models of the llama architecture on the processor. It runs as a child process (`modelops
// train`, `modelops evaluate`) like any other trainer, and knows of ours only the engine, whose file format, tokenizer,
// chat template and forward pass it shares.
//
// It owns: the gradients, written by hand (forward.go, backward.go, attention.go, loss.go), the products of matrices
// (product.go), AdamW (adam.go), adapters (lora.go), preferences (dpo.go), data (rows.go), the written file (files.go), checkpoints
// (checkpoint.go), and the lines it reports (events.go).
//
// It does not do: GPUs, several machines, training in half precision or with quantised weights. The weights that it trains,
// their gradients and two moments of each are held as float32.
//
// The same data, flags and processor give the same file, byte for byte, with any number of threads and however often the run
// was stopped and resumed: every sum has one order, which neither threads nor the cuts between tiles change.
package train
