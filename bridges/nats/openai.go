package natsapi

import (
	"bytes"
	"encoding/json"
	"strconv"

	"modelops/messages"
)

// sampling are the parameters that OpenAI-like bodies have at the top and InferenceRequest in parameters.
var sampling = []string{
	"top_p", "top_k", "min_p", "typical_p", "seed", "presence_penalty", "frequency_penalty", "repeat_penalty", "logit_bias",
	"response_format", "grammar", "json_schema", "ignore_eos",
	"keep_alive",
}

// renamed are other names of fields.
var renamed = map[string]string{"model": "model_name", "max_completion_tokens": "max_tokens"}

// ignored are fields that clients send by habit and that change no answer.
var ignored = []string{"user", "stream_options"}

// parseInference reads an InferenceRequest, or a body with the words of OpenAI's API, which is rewritten into one first.
func parseInference(data []byte) (*messages.InferenceRequest, error) {
	r := &messages.InferenceRequest{}
	var body map[string]json.RawMessage
	if json.Unmarshal(data, &body) != nil || !rewritable(body) {
		return r, parse(data, r)
	}
	rewritten, err := rewrite(body)
	if err != nil {
		return nil, err
	}
	return r, parse(rewritten, r)
}

func rewritable(body map[string]json.RawMessage) bool {
	for _, name := range append(append([]string{"model", "max_completion_tokens", "messages", "stop", "n"}, sampling...), ignored...) {
		if _, ok := body[name]; ok {
			return true
		}
	}
	return false
}

// rewrite leaves what it doesn't know as it is, for parse to refuse by name.
func rewrite(body map[string]json.RawMessage) ([]byte, error) {
	for _, name := range ignored {
		delete(body, name)
	}
	for from, to := range renamed {
		v, ok := body[from]
		if !ok {
			continue
		}
		if _, both := body[to]; both {
			return nil, invalid(from, "there is "+to+" too", "send one of them")
		}
		delete(body, from)
		body[to] = v
	}
	if n, ok := body["n"]; ok {
		if v := string(n); v != "1" && v != "null" {
			return nil, invalid("n", "only one answer is given to a request", "send more requests")
		}
		delete(body, "n")
	}
	if stop := body["stop"]; len(stop) > 0 && stop[0] == '"' {
		body["stop"] = append(append([]byte{'['}, stop...), ']')
	}
	if err := gather(body); err != nil {
		return nil, err
	}
	if err := flatten(body); err != nil {
		return nil, err
	}
	return json.Marshal(body)
}

// gather moves sampling parameters into parameters, as JSON in text.
func gather(body map[string]json.RawMessage) error {
	parameters := map[string]json.RawMessage{}
	if given, ok := body["parameters"]; ok && string(given) != "null" {
		if err := json.Unmarshal(given, &parameters); err != nil {
			return invalid("parameters", "it is no object", "send names and JSON values in text")
		}
	}
	for _, name := range sampling {
		v, ok := body[name]
		if !ok {
			continue
		}
		delete(body, name)
		if string(v) == "null" {
			continue
		}
		if _, both := parameters[name]; both {
			return invalid(name, "it is in parameters too", "send it once")
		}
		quoted, err := json.Marshal(string(v))
		if err != nil {
			return err
		}
		parameters[name] = quoted
	}
	if len(parameters) == 0 {
		return nil
	}
	all, err := json.Marshal(parameters)
	body["parameters"] = all
	return err
}

// flatten joins contents that come as a list of parts. Only text can be read.
func flatten(body map[string]json.RawMessage) error {
	var turns []map[string]json.RawMessage
	if json.Unmarshal(body["messages"], &turns) != nil {
		return nil // absent, or not a list of objects: parse says so
	}
	for i, turn := range turns {
		if !bytes.HasPrefix(turn["content"], []byte("[")) {
			continue
		}
		var parts []struct{ Type, Text string }
		if err := json.Unmarshal(turn["content"], &parts); err != nil {
			return invalid("messages["+strconv.Itoa(i)+"].content", "it is neither text nor a list of parts", "send text")
		}
		text := ""
		for _, p := range parts {
			if p.Type != "text" {
				return messages.NewError(messages.Unsupported, "messages["+strconv.Itoa(i)+"].content", "a part of type "+strconv.Quote(p.Type)+" can't be read here").
					WithHint("send text, or use the HTTP API for models that see or hear")
			}
			text += p.Text
		}
		turn["content"], _ = json.Marshal(text)
	}
	joined, err := json.Marshal(turns)
	body["messages"] = joined
	return err
}
