package engine

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// chatParams are the fields of /v1/chat/completions and /apply-template. Tools are shown to the template; this engine
// never forces a call.
type chatParams struct {
	params
	Messages            []map[string]any `json:"messages"`
	Logprobs            bool             `json:"logprobs"`
	TopLogprobs         *int             `json:"top_logprobs"`
	Tools               []any            `json:"tools"`
	ToolChoice          any              `json:"tool_choice"`
	AddGenerationPrompt *bool            `json:"add_generation_prompt"`
}

// prompt renders the conversation; prefill is the end of it that the answer continues and repeats. The template's own BOS
// is taken off when the tokenizer adds one.
func (p *chatParams) prompt(e *opened) (text, prefill string, err error) {
	if e.templateErr != nil {
		return "", "", unsupported("the model's chat template can't be used: %v", e.templateErr)
	}
	if len(p.Messages) == 0 {
		return "", "", invalid("'messages' is required and must not be empty")
	}
	for i, m := range p.Messages {
		if err := plainMessage(m); err != nil {
			return "", "", invalid("message %d: %v", i, err)
		}
	}
	messages, prefill, err := p.splitPrefill()
	if err != nil {
		return "", "", err
	}
	t := e.model.Tokens
	vars := map[string]any{"messages": messages, "bos_token": t.Piece(t.bos, true), "eos_token": t.Piece(t.eos, true),
		"add_generation_prompt": p.AddGenerationPrompt == nil || *p.AddGenerationPrompt}
	if len(p.Tools) > 0 {
		vars["tools"] = p.Tools
	}
	text, err = e.template.render(vars)
	var refusal *templateRefusal
	if errors.As(err, &refusal) {
		return "", "", invalid("the chat template refuses these messages: %v", err)
	}
	if err != nil {
		return "", "", unsupported("the model's chat template failed: %v", err)
	}
	if t.addBOS {
		text = strings.TrimPrefix(text, t.Piece(t.bos, true))
	}
	return text + prefill, prefill, nil
}

// splitPrefill takes off a last message of the assistant: the answer continues it.
func (p *chatParams) splitPrefill() (messages []any, prefill string, err error) {
	for _, m := range p.Messages {
		messages = append(messages, m)
	}
	assistant := func(back int) bool {
		return len(messages) >= back && p.Messages[len(messages)-back]["role"] == "assistant"
	}
	if !assistant(1) {
		return messages, "", nil
	}
	if assistant(2) {
		return nil, "", invalid("Cannot have 2 or more assistant messages at the end of the list.")
	}
	prefill, _ = p.Messages[len(messages)-1]["content"].(string)
	return messages[:len(messages)-1], prefill, nil
}

// plainMessage checks a message and joins text parts into one string, which is what templates expect.
func plainMessage(m map[string]any) error {
	if role, ok := m["role"].(string); !ok || role == "" {
		return errors.New("'role' must be a string")
	}
	switch content := m["content"].(type) {
	case string:
		return nil
	case nil:
		if m["role"] != "assistant" {
			return errors.New("all but assistant messages must contain 'content'")
		}
		m["content"] = ""
		return nil
	case []any:
		var texts []string
		for _, part := range content {
			fields, _ := part.(map[string]any)
			text, ok := fields["text"].(string)
			if fields["type"] != "text" || !ok {
				return errors.New("only content parts of type \"text\" are supported by this model")
			}
			texts = append(texts, text)
		}
		m["content"] = strings.Join(texts, "\n")
		return nil
	}
	return errors.New("expected 'content' to be a string or an array")
}

func (p *chatParams) read(e *opened, r *http.Request) (job, error) {
	if err := decode(r, p); err != nil {
		return job{}, err
	}
	if p.TopLogprobs != nil && *p.TopLogprobs != 0 && !p.Logprobs {
		return job{}, invalid("top_logprobs requires logprobs to be set to true")
	}
	if p.TopLogprobs != nil && *p.TopLogprobs < 0 {
		return job{}, invalid("top_logprobs is %d, want 0 or more", *p.TopLogprobs)
	}
	if choice, _ := p.ToolChoice.(string); choice == "required" {
		return job{}, invalid("tool_choice \"required\" is not supported by this engine")
	}
	text, prefill, err := p.prompt(e)
	if err != nil {
		return job{}, err
	}
	j, err := p.job(e, e.model.Tokens.Encode(text, true, true))
	j.prefix = prefill
	if p.Logprobs {
		j.probs = 20 // llama-server's default
		set(&j.probs, p.TopLogprobs)
		j.probs = min(j.probs, e.model.Tokens.Size())
	}
	return j, err
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type chatChoice struct {
	FinishReason *string      `json:"finish_reason"`
	Index        int          `json:"index"`
	Message      *chatMessage `json:"message,omitempty"`
	Delta        *chatDelta   `json:"delta,omitempty"`
	Logprobs     *probList    `json:"logprobs,omitempty"`
}

// chatDelta is a step of a stream. Content is null in the first one, as llama-server has it.
type chatDelta struct {
	Role    string          `json:"role,omitempty"`
	Content json.RawMessage `json:"content,omitempty"`
}

type chatCompletion struct {
	Choices     []chatChoice `json:"choices"`
	Created     int64        `json:"created"`
	Model       string       `json:"model"`
	Fingerprint string       `json:"system_fingerprint"`
	Object      string       `json:"object"`
	Usage       *usage       `json:"usage,omitempty"`
	ID          string       `json:"id"`
	Timings     *timings     `json:"timings,omitempty"`
}

// chat is OpenAI's /v1/chat/completions.
func (s *server) chat(e *opened, w http.ResponseWriter, r *http.Request) error {
	var p chatParams
	j, err := p.read(e, r)
	if err != nil {
		return err
	}
	frame := chatCompletion{Created: time.Now().Unix(), Model: s.opt.Alias, Fingerprint: fingerprint, ID: newID()}
	if p.Stream {
		frame.Object = "chat.completion.chunk"
		return s.chatStream(e, w, r, j, frame, p.StreamOptions.IncludeUsage)
	}
	out, err := e.runner.run(r.Context(), j, nil)
	if err != nil {
		return err
	}
	reason := out.finishReason()
	frame.Object = "chat.completion"
	frame.Choices = []chatChoice{{FinishReason: &reason, Message: &chatMessage{"assistant", out.text},
		Logprobs: probsOrNil(e.model.Tokens, j, out.probs)}}
	frame.Usage, frame.Timings = out.usage(), out.timings()
	return answer(w, frame)
}

func (s *server) chatStream(e *opened, w http.ResponseWriter, r *http.Request, j job, frame chatCompletion, withUsage bool) error {
	events := newEventStream(w)
	opening := func() error {
		if events.started {
			return nil
		}
		frame.Choices = []chatChoice{{Delta: &chatDelta{Role: "assistant", Content: json.RawMessage("null")}}}
		return events.send(frame)
	}
	out, err := e.runner.run(r.Context(), j, func(c chunk) error {
		if err := opening(); err != nil {
			return err
		}
		if c.text == "" && len(c.probs) == 0 {
			return nil
		}
		content, err := encode(c.text)
		if err != nil {
			return err
		}
		frame.Choices = []chatChoice{{Delta: &chatDelta{Content: content}, Logprobs: probsOrNil(e.model.Tokens, j, c.probs)}}
		return events.send(frame)
	})
	if err != nil {
		return events.finish(err, true)
	}
	if err := opening(); err != nil { // an answer may be empty
		return events.finish(err, true)
	}
	reason := out.finishReason()
	frame.Choices = []chatChoice{{FinishReason: &reason, Delta: &chatDelta{}}}
	if withUsage {
		if err := events.send(frame); err != nil {
			return events.finish(err, true)
		}
		frame.Choices, frame.Usage = []chatChoice{}, out.usage()
	}
	frame.Timings = out.timings()
	return events.finish(events.send(frame), true)
}

// applyTemplate shows the prompt that a chat would have.
func (s *server) applyTemplate(e *opened, w http.ResponseWriter, r *http.Request) error {
	var p chatParams
	if err := decode(r, &p); err != nil {
		return err
	}
	text, _, err := p.prompt(e)
	if err != nil {
		return err
	}
	return answer(w, map[string]any{"prompt": text})
}
