package openai

// route says what differs between paths; the rest is the same for all.
type route struct {
	// bounded routes follow OpenAI's range of temperature; engines' own routes take what the engine takes.
	bounded bool
	// anthropic clients expect another shape of error.
	anthropic bool
}

// end is what ends the stream of a route. Anthropic's has no end mark.
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
