package openai

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"modelops/messages"
)

// question is a request as far as we read it.
type question struct {
	body []byte
	// model is the name that was asked for; at says where its quoted value lies in body.
	model  string
	at     span
	bare   bool // the name stands there without quotes, as in a form
	stream bool
	// modelFile tells that a form has a file where the model's name belongs.
	modelFile bool
	// contentType is the client's, for a body that isn't JSON.
	contentType string
	// keepAlive is for us: the engine doesn't see it.
	keepAlive *time.Duration
}

// readQuestion checks what can be checked here: syntax, that a model is named, and types. Which values an engine takes, it says itself: many take -1 or
// 0 for "as you like". elsewhere tells that the address names the model.
func readQuestion(body []byte, rt route, elsewhere bool) (*question, *refusal) {
	env, err := scanBody(body)
	if err != nil {
		bad := err.(*badJSON)
		return nil, invalid(bad.field, "the body isn't acceptable JSON: "+bad.Error())
	}
	q := &question{contentType: jsonType}
	if member := env[memberKeepAlive]; member.present() {
		value := env[fieldKeepAlive]
		if q.keepAlive, err = messages.ParseKeepAlive(string(body[value.from:value.to])); err != nil {
			return nil, &refusal{param: "keep_alive", err: messages.AsError(err)}
		}
		body = without(body, member)
		if env, err = scanBody(body); err != nil {
			panic(fmt.Sprintf("a body without its keep_alive is no JSON any more: %v", err))
		}
	}
	q.body, q.at = body, env[fieldModel]
	switch {
	case q.at.present():
		q.model, err = textOf(body[q.at.from:q.at.to])
	case !elsewhere:
		return nil, invalid("model", "the body names no model: \"model\" is missing")
	}
	if err != nil || q.model == "" && q.at.present() {
		return nil, invalid("model", "\"model\" must be the name of a model, as a string that isn't empty")
	}
	if q.stream, err = boolOf(body, env[fieldStream]); err != nil {
		return nil, invalid("stream", "\"stream\" must be true or false")
	}
	if r := checkFigures(body, env); r != nil {
		return nil, r
	}
	return q, nil
}

// without takes a member and the comma beside it out of an object, in place: bodies may be large.
func without(body []byte, member span) []byte {
	from, to := member.from, member.to
	for isSpace(body[to]) {
		to++
	}
	if body[to] == ',' {
		to++
	} else {
		for isSpace(body[from-1]) {
			from--
		}
		if body[from-1] == ',' {
			from--
		}
	}
	return append(body[:from], body[to:]...)
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func checkFigures(body []byte, env envelope) *refusal {
	for _, f := range []field{fieldMaxTokens, fieldMaxCompletionTokens, fieldMaxOutputTokens, fieldN} {
		if v, ok := numberOf(body, env[f]); !ok || !whole(v) {
			return invalid(fieldNames[f], fmt.Sprintf("%q must be a whole number", fieldNames[f]))
		}
	}
	if _, ok := numberOf(body, env[fieldTemperature]); !ok {
		return invalid("temperature", "\"temperature\" must be a number")
	}
	return nil
}

// numberOf is 0 for an absent field and for null, which clients send for absent; false for what is no number.
func numberOf(body []byte, s span) (float64, bool) {
	if !s.present() || isNull(body, s) {
		return 0, true
	}
	v, err := strconv.ParseFloat(string(body[s.from:s.to]), 64)
	return v, err == nil
}

func whole(v float64) bool { return v == math.Trunc(v) }

func isNull(body []byte, s span) bool { return string(body[s.from:s.to]) == "null" }

func boolOf(body []byte, s span) (bool, error) {
	switch text := string(body[s.from:s.to]); text {
	case "true":
		return true, nil
	case "", "false", "null":
		return false, nil
	default:
		return false, strconv.ErrSyntax
	}
}

func textOf(quoted []byte) (string, error) {
	if len(quoted) < 2 || quoted[0] != '"' {
		return "", strconv.ErrSyntax
	}
	inner := quoted[1 : len(quoted)-1]
	for _, c := range inner {
		if c == '\\' || c >= utf8.RuneSelf {
			var s string
			err := json.Unmarshal(quoted, &s)
			return s, err
		}
	}
	return string(inner), nil
}

func invalid(param, message string) *refusal {
	return &refusal{param: param, err: messages.NewError(messages.InvalidArgument, "", message)}
}
