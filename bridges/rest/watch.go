package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"

	"modelops/messages"
)

// watchPath answers one question of Watch, and a caller that takes server-sent events gets one after the other.
const watchPath = "/api/watch"

// quietWait is how long the stream is silent at most: something on the way may end a connection that is silent for longer.
const quietWait = 15_000 // milliseconds

// streamsEvents tells whether a request wants the decisions as server-sent events.
func streamsEvents(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == watchPath && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// streamEvents writes an event for each decision, until the caller leaves or an error ends it. The id of the last event of an answer is where the
// stream goes on after an interruption, by the header Last-Event-ID.
func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request) {
	notePattern(w, watchPath)
	q := new(messages.WatchRequest)
	if err := runtime.PopulateQueryParameters(q, r.URL.Query(), utilities.NewDoubleArray(nil)); err != nil {
		writeTyped(w, messages.Misread("query", q, err.Error()))
		return
	}
	q.After, q.WaitMs = cmp.Or(r.Header.Get("Last-Event-ID"), q.After), 0
	for begun := false; r.Context().Err() == nil; begun = true {
		answer, err := s.watchOnce(r, q)
		switch {
		case err != nil && !begun:
			writeTyped(w, messages.AsError(err))
			return
		case err != nil:
			body, _ := json.Marshal(messages.AsError(err).Body())
			_ = sendEvent(w, "event: error\ndata: "+string(body)+"\n\n")
			return
		case !begun:
			h := w.Header()
			h["Content-Type"], h["Cache-Control"] = []string{"text/event-stream"}, []string{"no-store"}
		}
		text, err := eventsOf(answer)
		if err == nil {
			err = sendEvent(w, text)
		}
		if err != nil {
			return // the caller is gone
		}
		q.After, q.WaitMs = answer.Next, quietWait
	}
}

// watchOnce asks once, as the caller that the key is for now: a key that was revoked ends the stream.
func (s *Server) watchOnce(r *http.Request, q *messages.WatchRequest) (*messages.WatchReply, error) {
	principal, err := s.o.Authenticate.Of(r.Context(), messages.CredentialsIn(r.Header, r.RemoteAddr))
	if err != nil {
		return nil, err
	}
	ctx := context.WithValue(r.Context(), principalOf{}, principal)
	return checked(s.o).Watch(context.WithValue(ctx, queryOf{}, query{fields: r.URL.Query()}), q)
}

// eventsOf are the decisions of an answer as events; without one it is a comment, which keeps the connection open.
func eventsOf(a *messages.WatchReply) (string, error) {
	if len(a.Decisions) == 0 {
		return ":\n\n", nil
	}
	var out bytes.Buffer
	for i, d := range a.Decisions {
		body, err := inJSON.Marshal(d)
		if err != nil {
			return "", err
		}
		if i == len(a.Decisions)-1 {
			out.WriteString("id: " + a.Next + "\n")
		}
		out.WriteString("event: decision\ndata: ")
		out.Write(body)
		out.WriteString("\n\n")
	}
	return out.String(), nil
}

func sendEvent(w http.ResponseWriter, text string) error {
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
