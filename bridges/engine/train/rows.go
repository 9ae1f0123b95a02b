package train

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"modelops/bridges/engine"
)

// maxLine is how long a line of a data file may be, in bytes.
const maxLine = 1 << 20

// InputError is a mistake in what the caller gave: a flag, a model or a data file. The others are failures of the run.
type InputError struct{ Subject, Message, Hint string }

func (e *InputError) Error() string { return e.Subject + ": " + e.Message }

func wrong(subject, format string, args ...any) *InputError {
	return &InputError{Subject: subject, Message: fmt.Sprintf(format, args...)}
}

func (e *InputError) hint(text string) *InputError {
	e.Hint = text
	return e
}

// row is one text: its tokens, and which of them are to be learnt.
type row struct {
	tokens []int32
	learn  []bool
}

// answers is how many tokens are to be learnt.
func (r row) answers() (n int) {
	for _, learn := range r.learn {
		if learn {
			n++
		}
	}
	return n
}

// example is one line of a data file: a chat, or a prompt with the answer that is preferred and the one that isn't.
type example struct {
	chat     row
	rejected *row   // nil for a chat
	prompt   int    // tokens before the last answer
	answer   string // the last answer
}

func (e *example) rows() []row {
	if e.rejected == nil {
		return []row{e.chat}
	}
	return []row{e.chat, *e.rejected}
}

// line is what a line of a data file may hold. Other fields are passed over.
type line struct {
	Messages  []message `json:"messages"`
	User      *string   `json:"user"`
	Assistant *string   `json:"assistant"`
	Prompt    *string   `json:"prompt"`
	Chosen    *string   `json:"chosen"`
	Rejected  *string   `json:"rejected"`
}

type message struct {
	Role    string  `json:"role"`
	Content *string `json:"content"`
}

// reader turns lines into tokens for one model.
type reader struct {
	tokens   *engine.Tokenizer
	template *engine.Template
	length   int // tokens that an example may have
}

func newReader(m *engine.Model, length int) (*reader, error) {
	template, err := m.ChatTemplate()
	if err != nil {
		return nil, wrong("--base", "%v", err)
	}
	return &reader{m.Tokens, template, length}, nil
}

// file reads a data file and its SHA-256. Pairs is whether its lines have to be preference pairs; nil is either.
func (r *reader) file(path string, pairs *bool) ([]example, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("open data: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && !st.Mode().IsRegular() {
		return nil, "", wrong(path, "it isn't a regular file")
	}
	sum := sha256.New()
	lines := bufio.NewScanner(io.TeeReader(f, sum))
	lines.Buffer(make([]byte, 64<<10), maxLine)
	var out []example
	n := 0
	for lines.Scan() {
		n++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		e, err := r.line(lines.Bytes(), pairs)
		if err != nil {
			return nil, "", wrong(fmt.Sprintf("%s:%d", path, n), "%v", err)
		}
		out = append(out, e)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, "", wrong(fmt.Sprintf("%s:%d", path, n+1), "the line is longer than %d bytes", maxLine)
	case err != nil:
		return nil, "", fmt.Errorf("%s:%d: %w", path, n+1, err)
	case len(out) == 0:
		return nil, "", wrong(path, "it has no rows").hint(`a row is a line such as {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}`)
	}
	return out, hex.EncodeToString(sum.Sum(nil)), nil
}

func (r *reader) line(b []byte, pairs *bool) (example, error) {
	var l line
	if !utf8.Valid(b) {
		return example{}, errors.New("it isn't UTF-8")
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return example{}, fmt.Errorf("it isn't a row in JSON: %w", err)
	}
	pair := l.Chosen != nil || l.Rejected != nil
	switch {
	case pair && pairs != nil && !*pairs:
		return example{}, errors.New("it is a preference pair, which only the method dpo learns from")
	case !pair && pairs != nil && *pairs:
		return example{}, errors.New(`the method dpo needs "chosen" and "rejected" beside "prompt" or "messages"`)
	}
	turns, err := l.turns(pair)
	if err != nil {
		return example{}, err
	}
	if !pair {
		return r.example(turns)
	}
	if *l.Chosen == *l.Rejected {
		return example{}, errors.New(`"chosen" and "rejected" are the same`)
	}
	e, err := r.example(append(slices.Clone(turns), engine.Turn{Role: "assistant", Content: *l.Chosen}))
	if err != nil {
		return e, fmt.Errorf("chosen: %w", err)
	}
	other, err := r.example(append(slices.Clone(turns), engine.Turn{Role: "assistant", Content: *l.Rejected}))
	if err != nil {
		return e, fmt.Errorf("rejected: %w", err)
	}
	// Only the answers that differ are compared: earlier answers of the chat are given.
	e.rejected = &other.chat
	only(&e.chat, e.prompt)
	only(e.rejected, other.prompt)
	return e, nil
}

// only leaves of a row to be learnt what stands at from or later.
func only(r *row, from int) {
	for i := range min(from, len(r.learn)) {
		r.learn[i] = false
	}
}

// turns are the messages of a line, checked: of a pair those before the answers.
func (l *line) turns(pair bool) (turns []engine.Turn, err error) {
	switch {
	case l.Messages != nil:
		for i, m := range l.Messages {
			if m.Content == nil || m.Role != "system" && m.Role != "user" && m.Role != "assistant" {
				return nil, fmt.Errorf("message %d needs a role (system, user or assistant) and a content", i)
			}
			turns = append(turns, engine.Turn{Role: m.Role, Content: *m.Content})
		}
	case pair && l.Prompt != nil:
		turns = []engine.Turn{{Role: "user", Content: *l.Prompt}}
	case !pair && l.User != nil && l.Assistant != nil:
		turns = []engine.Turn{{Role: "user", Content: *l.User}, {Role: "assistant", Content: *l.Assistant}}
	case pair:
		return nil, errors.New(`a preference pair needs "prompt" or "messages"`)
	default:
		return nil, errors.New(`a row needs "messages", or "user" and "assistant"`)
	}
	switch {
	case len(turns) == 0:
		return nil, errors.New("it has no messages")
	case pair && (l.Chosen == nil || l.Rejected == nil):
		return nil, errors.New(`a preference pair needs "chosen" and "rejected"`)
	case pair && turns[len(turns)-1].Role == "assistant":
		return nil, errors.New("the last message before the two answers is the assistant's")
	case !pair && turns[len(turns)-1].Role != "assistant":
		return nil, errors.New("its last message isn't the assistant's, so there is nothing to learn")
	}
	return turns, nil
}

// example tokenises a chat whose last turn is an answer. Each answer is tokenised after the prompt as the engine would show
// it, and what is to be learnt is what the engine would have to say, up to the token that ends it.
func (r *reader) example(turns []engine.Turn) (example, error) {
	e := example{answer: turns[len(turns)-1].Content}
	for i, turn := range turns {
		if turn.Role != "assistant" {
			continue
		}
		if strings.TrimSpace(turn.Content) == "" {
			return e, fmt.Errorf("message %d, an answer, is empty", i)
		}
		before, err := r.template.Render(turns[:i], true)
		if err != nil {
			return e, err
		}
		after, err := r.template.Render(turns[:i+1], false)
		if err != nil {
			return e, err
		}
		answer, found := strings.CutPrefix(after, before)
		if !found {
			return e, errors.New("the model's chat template shows the prompt differently once it is answered: it can't be learnt from")
		}
		e.chat, e.prompt = r.answered(e.chat, before, after, answer)
	}
	if n := len(e.chat.tokens); n > r.length {
		return e, fmt.Errorf("it has %d tokens (%d of the prompt), more than the %d that fit into the context", n, e.prompt, r.length)
	}
	return e, nil
}

// answered is the row up to one answer; learnt are that answer and those of the row so far.
func (r *reader) answered(so row, before, after, answer string) (row, int) {
	tokens, prompt := r.tokens.Encode(after, true, true), r.tokens.Encode(before, true, true)
	if len(prompt) > len(tokens) || !slices.Equal(tokens[:len(prompt)], prompt) {
		tokens = append(slices.Clone(prompt), r.tokens.Encode(answer, false, true)...) // joined across the border, which an engine never does
	}
	learn := make([]bool, len(tokens))
	copy(learn, so.learn)
	for i := len(prompt); i < len(tokens); i++ {
		learn[i] = true
		if r.tokens.Ends(tokens[i]) {
			break
		}
	}
	return row{tokens, learn}, len(prompt)
}
