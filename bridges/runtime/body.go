package runtime

import (
	"encoding/json"
	"fmt"
	"strings"

	"modelops/messages"
)

// defaultTokens and defaultTemperature hold where a request says nothing.
const (
	defaultTokens      = 100
	defaultTemperature = 0.7
)

// reserved are the words of the body that parameters may not set: they are decided by the request itself, or would make
// an answer that a stream of text can't carry.
var reserved = []string{"model", "messages", "prompt", "stream", "stream_options", "n", "best_of"}

// requestBody writes a request in the form of OpenAI's API, for /v1/chat/completions or, when raw, /v1/completions.
// stream asks for the answer piece by piece, which costs engine and reader several times as much as one reply.
func requestBody(g *messages.Grant, r *messages.InferenceRequest, stream bool) (path string, body []byte, err error) {
	fields := map[string]any{}
	for name, text := range r.Parameters {
		fields[name] = jsonValue(text)
	}
	for _, name := range reserved {
		if _, given := fields[name]; given {
			return "", nil, invalid("parameters."+name, fmt.Sprintf("%s can't be set as a parameter", name), "leave it out")
		}
	}
	if r.MaxTokens < 0 {
		return "", nil, invalid("max_tokens", fmt.Sprintf("max_tokens is %d", r.MaxTokens), "give the most tokens wanted, or 0 for 100")
	}
	setNumber(fields, "max_tokens", r.MaxTokens > 0, r.MaxTokens, defaultTokens)
	setNumber(fields, "temperature", r.Temperature != nil, r.GetTemperature(), float32(defaultTemperature))
	if len(r.Stop) > 0 {
		fields["stop"] = r.Stop
	}
	fields["model"] = g.Upstream
	if g.Upstream == "" {
		fields["model"] = g.Model
	}
	if stream {
		fields["stream"] = true
		fields["stream_options"] = map[string]bool{"include_usage": true}
	}
	path = "/v1/chat/completions"
	if r.Raw {
		path = "/v1/completions"
		fields["prompt"] = r.Prompt
	} else {
		fields["messages"] = turns(r)
	}
	body, err = json.Marshal(fields)
	if err != nil {
		return "", nil, invalid("parameters", "they make no JSON: "+err.Error(), "write each as a JSON value").WithCause(err)
	}
	return path, body, nil
}

// setNumber prefers the request's own field, then the parameter, then the default.
func setNumber(fields map[string]any, name string, given bool, value, otherwise any) {
	if given {
		fields[name] = value
		return
	}
	if _, ok := fields[name]; !ok {
		fields[name] = otherwise
	}
}

// turns are the conversation, or the prompt as its only turn.
func turns(r *messages.InferenceRequest) []map[string]string {
	if len(r.Messages) == 0 {
		return []map[string]string{{"role": "user", "content": r.Prompt}}
	}
	out := make([]map[string]string, len(r.Messages))
	for i, m := range r.Messages {
		out[i] = map[string]string{"role": m.Role, "content": m.Content}
	}
	return out
}

// jsonValue takes a parameter as JSON, and as a plain string when it is none: people write stop as ###, not as "###".
func jsonValue(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(strings.TrimSpace(text))
	}
	return text
}

func invalid(what, message, hint string) *messages.Error {
	return messages.NewError(messages.InvalidArgument, what, message).WithHint(hint)
}

// usage is what the engine counted.
type usage struct {
	Prompt     int32 `json:"prompt_tokens"`
	Completion int32 `json:"completion_tokens"`
}

// message is one message of an engine: a chunk, or a whole answer. Its text may have halves of letters.
type message struct {
	text, finish string
	reasoned     int // bytes of reasoning
	usage        *usage
}

// parseMessage reads a chunk or a whole answer of either endpoint. An error in it comes back typed.
func parseMessage(data []byte) (message, error) {
	var in struct {
		Choices []struct {
			Index   int     `json:"index"`
			Text    words   `json:"text"`
			Finish  *string `json:"finish_reason"`
			Delta   content `json:"delta"`
			Message content `json:"message"`
		} `json:"choices"`
		Usage *usage          `json:"usage"`
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return message{}, messages.Errorf(messages.InferenceError, "", "the worker's answer is no JSON: %w", err)
	}
	if len(in.Error) > 0 && string(in.Error) != "null" {
		return message{}, streamFailure(in.Error)
	}
	out := message{usage: in.Usage}
	for _, c := range in.Choices {
		if c.Index != 0 {
			continue
		}
		out.text += string(c.Text) + string(c.Delta.Content) + string(c.Message.Content)
		out.reasoned += c.Delta.reasoned() + c.Message.reasoned()
		if c.Finish != nil {
			out.finish = *c.Finish
		}
	}
	return out, nil
}

// content is what an engine wrote in a turn. Engines have two names for reasoning.
type content struct {
	Content   words  `json:"content"`
	Reasoning string `json:"reasoning_content"`
	Thought   string `json:"reasoning"`
}

func (c content) reasoned() int { return max(len(c.Reasoning), len(c.Thought)) }
