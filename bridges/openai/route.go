package openai

// route says what is particular to one path; the way of a request is the same for all.
type route struct {
	// bounded routes follow OpenAI's range of temperature; engines' own routes take what the engine takes.
	bounded bool
	// anthropic clients look for another shape of error.
	anthropic bool
}

// end is how the stream of a route ends. Anthropic's ends with the event that was last.
func (rt route) end() []byte {
	if rt.anthropic {
		return nil
	}
	return []byte("data: [DONE]\n\n")
}

// passThrough lists every path whose body names a model and whose answer comes from an engine. The engine sees the same
// path. All are POST.
var passThrough = map[string]route{
	"/v1/chat/completions":      {bounded: true},
	"/v1/completions":           {bounded: true},
	"/v1/embeddings":            {},
	"/v1/responses":             {bounded: true},
	"/v1/rerank":                {},
	"/v1/reranking":             {},
	"/rerank":                   {},
	"/v1/messages":              {anthropic: true},
	"/v1/messages/count_tokens": {anthropic: true},
	"/tokenize":                 {},
	"/detokenize":               {},
	"/infill":                   {},
	"/completion":               {},
}
