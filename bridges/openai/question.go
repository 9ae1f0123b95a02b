package openai

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"modelops/messages"
)

const jsonType = "application/json"

// ask reads what has to be known of a request: which model it is for, and whether its answer is a stream. A body that is no JSON and no form
// passes unread to the model that the path or the query names.
func (x *exchange) ask(body []byte) (*question, *refusal) {
	named := x.rt.model
	if named == "" && x.r.URL.RawQuery != "" {
		named = x.r.URL.Query().Get("model")
	}
	q, bad := x.read(body, named)
	switch {
	case bad != nil:
		return nil, bad
	case q.model == "" && named == "":
		named = x.api.onlyModel()
		if named == "" || len(body) > 0 {
			return nil, invalid("model", `the request names no model: write "model" into the body, the form or the query, such as ?model=NAME`)
		}
	case q.model != "" && named != "" && q.model != named:
		return nil, invalid("model", "the body names another model than the address does")
	}
	if q.model == "" {
		q.model = named
	}
	return q, nil
}

func (x *exchange) read(body []byte, named string) (*question, *refusal) {
	sent := x.r.Header.Get("Content-Type")
	if sent == jsonType && len(body) > 0 { // most requests: their type needs no parsing
		return readQuestion(body, x.rt, named != "")
	}
	media, params, err := mime.ParseMediaType(sent)
	switch {
	case len(body) == 0 && (named != "" || x.r.Method != http.MethodPost):
		return &question{contentType: sent}, nil
	case media == "multipart/form-data":
		if err != nil || params["boundary"] == "" {
			return nil, invalid("Content-Type", "the multipart form has no boundary")
		}
		q, bad := readForm(body, params["boundary"])
		if bad == nil && q.modelFile && x.scoped() {
			return nil, invalid("model", `"model" is a file: a key for some models only must name the model as text`)
		}
		if bad == nil {
			q.contentType = sent
		}
		return q, bad
	case named != "" && !isJSON(media) && !(x.scoped() && isObject(body)):
		return &question{body: body, contentType: sent}, nil
	}
	return readQuestion(body, x.rt, named != "")
}

// scoped tells whether the caller may use some models only. An engine may serve several, and read the model from a body whatever its type.
func (x *exchange) scoped() bool { return x.caller.Scope != nil && len(x.caller.Scope.Models) > 0 }

// isObject tells whether a reader of JSON could take a body for an object, behind a byte order mark or in UTF-16 too.
func isObject(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n\x00\xef\xbb\xbf\xff\xfe"), []byte("{"))
}

// isJSON is true of what clients call JSON, and of no type at all and curl's default, which many send with JSON.
func isJSON(media string) bool {
	return media == "" || media == "application/x-www-form-urlencoded" || media == "application/json" || strings.HasSuffix(media, "+json") || media == "text/json" || media == "text/plain"
}

// onlyModel is the one model that is listed here, for requests that name none; empty when there are several.
func (a *API) onlyModel() string {
	only := ""
	for _, m := range a.gateway.Models() {
		if m.GetSpec().GetUnlisted() {
			continue
		}
		if only != "" {
			return ""
		}
		only = m.GetName()
	}
	return only
}

// unpacked is a body without its compression, at most maxBody of it. Its memory is taken from the budget too.
func (x *exchange) unpacked(body []byte) ([]byte, *refusal) {
	encoding, limit := x.r.Header.Get("Content-Encoding"), x.api.maxBody
	if !messages.Packed(encoding) {
		return body, nil
	}
	plain, err := messages.Unpack(encoding, bytes.NewReader(body))
	if err == nil {
		body, err = takeBody(x.ctx, plain, -1, limit, &x.room)
	}
	var typed *messages.Error
	switch {
	case errors.As(err, &typed):
		return nil, refusalOf(typed)
	case errors.Is(err, messages.ErrEncoding):
		return nil, invalid("Content-Encoding", "the body is compressed with something else than gzip or deflate: send it plain")
	case err != nil && !errors.Is(err, io.EOF):
		return nil, invalid("Content-Encoding", "the compressed body can't be unpacked: "+err.Error())
	case err != nil:
		return nil, invalid("Content-Encoding", "the compressed body is empty")
	case int64(len(body)) > limit:
		return nil, &refusal{err: messages.Errorf(messages.PayloadTooLarge, "", "the body is larger than %s when it is unpacked", messages.FormatBytes(uint64(limit))).
			WithHint("send less, or raise server.max_body_mb")}
	}
	return body, nil
}
