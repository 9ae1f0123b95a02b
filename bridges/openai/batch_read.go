package openai

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"modelops/messages"
)

// shape describes the requests of one kind: which list of the body is gathered, and which one of the answer is divided.
type shape struct {
	field string // of the body: its value becomes the list of all members' inputs
	list  string // of the answer: its items carry an index into that list
	// declared: only for models whose declaration says that their engine can.
	declared bool
	// read takes the inputs out of a body; false = this request is sent by itself.
	read func(m *member, body []byte, parts []part) bool
}

// shapes lists the paths whose requests can share an answer.
var shapes = map[string]*shape{
	"/v1/embeddings":  &embeddings,
	"/v1/rerank":      &rerank,
	"/v1/reranking":   &rerank,
	"/rerank":         &rerank,
	"/v1/completions": &completions,
}

var (
	embeddings  = shape{field: "input", list: "data", read: readInput}
	rerank      = shape{field: "documents", list: "results", read: readDocuments}
	completions = shape{field: "prompt", list: "choices", declared: true, read: readPrompt}
)

// memberOf says whether a request may share an upstream request: nil = it is sent by itself.
func (a *API) memberOf(x *exchange) *member {
	s := shapes[x.rt.path]
	if s == nil || a.batching == nil || x.q.stream || x.q.contentType != jsonType || !x.caller.Only.Anywhere() || x.ownKey() || len(x.q.body) > batchBytes {
		return nil
	}
	how := a.batching(x.q.model)
	if how.Window <= 0 || how.MaxSize < 2 || s.declared && !how.Completions {
		return nil
	}
	parts, ok := partsOf(x.q.body)
	if !ok {
		return nil
	}
	m := &member{x: x, shape: s, window: how.Window, most: how.MaxSize, turn: make(chan turn, 1)}
	if !s.read(m, x.q.body, parts) || len(m.items) == 0 {
		return nil
	}
	m.key = m.sharedKey()
	return m
}

// sharedKey is equal for requests that may share: all that the engine would see is equal except the inputs, and so is what
// the gateway decides by.
func (m *member) sharedKey() string {
	x := m.x
	var key bytes.Buffer
	line := func(texts ...string) {
		for _, text := range texts {
			key.WriteString(strconv.Quote(text))
		}
		key.WriteByte('\n')
	}
	caller := messages.CallerFrom(x.ctx)
	line(x.rt.path, x.r.URL.RawQuery, x.q.model, caller.Class, string(m.items[0][:1]))
	if caller.Scope != nil { // the gateway checks the first one's only
		line("scope", caller.Name, caller.Fingerprint)
	}
	if caller.KeepAlive != nil {
		line("keep", caller.KeepAlive.String())
	}
	for _, p := range m.rest {
		line(p.name)
		key.Write(compact(p.value))
	}
	shared := sharedHeader(x.r.Header)
	names := make([]string, 0, len(shared))
	for name := range shared {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		line(name)
		line(shared[name]...)
	}
	return key.String()
}

// readInput takes a text, a list of texts, a list of tokens, or a list of such lists. All inputs of a batch begin with the
// same byte (it is part of the key), so texts and tokens don't meet.
func readInput(m *member, body []byte, parts []part) bool {
	input := m.split(parts)
	if input == nil {
		return false
	}
	if input[0] == '"' {
		m.add(input, len(input))
		return true
	}
	list, ok := elementsOf(input)
	if !ok || len(list) == 0 {
		return false
	}
	first := list[0][0]
	if isDigit(first) {
		m.add(input, len(list))
		return all(list, isNumber)
	}
	for _, item := range list {
		tokens, isList := elementsOf(item)
		switch {
		case item[0] != first:
			return false
		case first == '"':
			m.add(item, len(item))
		case isList && len(tokens) > 0 && all(tokens, isNumber):
			m.add(item, len(tokens))
		default:
			return false
		}
	}
	return true
}

// readDocuments takes a rerank of documents; each counts as long as it and the query are.
func readDocuments(m *member, body []byte, parts []part) bool {
	documents := m.split(parts, "top_n")
	query, top := partOf(parts, "query"), partOf(parts, "top_n")
	if documents == nil || query == nil {
		return false
	}
	if top != nil && string(top) != "null" {
		n, err := strconv.Atoi(string(top))
		if err != nil || n < 1 {
			return false
		}
		m.top = n
	}
	list, ok := elementsOf(documents)
	for _, item := range list {
		if item[0] != list[0][0] || item[0] != '"' && item[0] != '{' {
			return false
		}
		m.add(item, len(item)+len(query))
	}
	return ok
}

// readPrompt takes one prompt as text that asks for one choice.
func readPrompt(m *member, body []byte, parts []part) bool {
	prompt := m.split(parts)
	if prompt == nil || prompt[0] != '"' {
		return false
	}
	for _, name := range []string{"n", "best_of"} {
		if v := string(partOf(parts, name)); v != "" && v != "1" && v != "null" {
			return false
		}
	}
	m.add(prompt, len(prompt))
	return true
}

// split keeps the parts that aren't a member's own and returns the value of the gathered one; nil when there is none.
func (m *member) split(parts []part, own ...string) (gathered []byte) {
	for _, p := range parts {
		switch {
		case p.name == m.shape.field:
			gathered = p.value
		case strings.EqualFold(p.name, fieldNames[fieldModel]) || slices.Contains(own, p.name):
		default:
			m.rest = append(m.rest, p)
		}
	}
	slices.SortFunc(m.rest, func(a, b part) int { return strings.Compare(a.name, b.name) })
	return gathered
}

func (m *member) add(item []byte, weight int) {
	m.items, m.weights = append(m.items, item), append(m.weights, weight)
}

func isNumber(b []byte) bool { return isDigit(b[0]) }

func all(list [][]byte, is func([]byte) bool) bool {
	return !slices.ContainsFunc(list, func(b []byte) bool { return !is(b) })
}
