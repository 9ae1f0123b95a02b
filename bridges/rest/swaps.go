package rest

import (
	"context"
	"io"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Swaps lets another model answer a name.
type Swaps interface {
	Swap(ctx context.Context, r *messages.SwapModel) (*messages.SwapReply, error)
	Promote(ctx context.Context, r *messages.PromoteSwap) (*messages.SwapReply, error)
	Rollback(ctx context.Context, r *messages.RollbackSwap) (*messages.SwapReply, error)
	Swaps(ctx context.Context) (*messages.SwapList, error)
}

// swapsRoot is where swaps are: GET lists them, POST begins one, POST swapsRoot/NAME/promote and /rollback end one.
const swapsRoot = "/api/swaps"

// swapsPage answers what is about swaps, and tells whether the request was.
func (s *Server) swapsPage(w http.ResponseWriter, r *http.Request) bool {
	rest, ours := strings.CutPrefix(r.URL.Path, swapsRoot)
	if !ours || s.o.Swaps == nil || rest != "" && rest[0] != '/' {
		return false
	}
	r.Pattern = swapsRoot
	if rest == "" {
		s.swaps(w, r)
		return true
	}
	// A name may hold slashes: the word at the end says what to do with it.
	end := strings.LastIndexByte(rest, '/')
	name, verb := strings.TrimPrefix(rest[:end], "/"), rest[end+1:]
	if name == "" || verb != "promote" && verb != "rollback" {
		r.Pattern = ""
		writeError(w, http.StatusNotFound, messages.NewError(messages.NotFound, r.URL.Path, "there is no such page").
			WithHint("POST "+swapsRoot+"/NAME/promote or "+swapsRoot+"/NAME/rollback"))
		return true
	}
	r.Pattern = swapsRoot + "/{name...}/" + verb
	if !takes(w, r, http.MethodPost) {
		return true
	}
	if verb == "promote" {
		end := &messages.PromoteSwap{}
		answer(w, r, end, func() (proto.Message, error) { end.Name = name; return s.o.Swaps.Promote(r.Context(), end) })
		return true
	}
	back := &messages.RollbackSwap{}
	answer(w, r, back, func() (proto.Message, error) { back.Name = name; return s.o.Swaps.Rollback(r.Context(), back) })
	return true
}

func (s *Server) swaps(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		list, err := s.o.Swaps.Swaps(r.Context())
		show(w, list, err)
		return
	}
	if !takes(w, r, "GET, HEAD, POST") {
		return
	}
	begin := &messages.SwapModel{}
	answer(w, r, begin, func() (proto.Message, error) { return s.o.Swaps.Swap(r.Context(), begin) })
}

// takes refuses every method but POST; allowed is what the page takes in all.
func takes(w http.ResponseWriter, r *http.Request, allowed string) bool {
	if r.Method == http.MethodPost {
		return true
	}
	w.Header().Set("Allow", allowed)
	writeError(w, http.StatusMethodNotAllowed, messages.Errorf(messages.InvalidArgument, r.URL.Path, "takes %s, not %s", allowed, r.Method))
	return false
}

const orderBytes = 64 << 10

// answer reads a command's JSON, which may be empty, and answers with what came of it.
func answer(w http.ResponseWriter, r *http.Request, command proto.Message, obey func() (proto.Message, error)) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, orderBytes))
	if err != nil {
		show(w, nil, messages.Errorf(messages.PayloadTooLarge, r.URL.Path, "the body can't be read: %w", err))
		return
	}
	if len(body) > 0 {
		if err := protojson.Unmarshal(body, command); err != nil {
			show(w, nil, messages.Errorf(messages.InvalidArgument, r.URL.Path, "the body is no %s: %w", command.ProtoReflect().Descriptor().Name(), err))
			return
		}
	}
	m, err := obey()
	show(w, m, err)
}

// show answers with a message, or with why there is none.
func show(w http.ResponseWriter, m proto.Message, err error) {
	var body []byte
	if err == nil {
		body, err = asJSON.Marshal(m)
	}
	if err != nil {
		typed := messages.AsError(err)
		writeError(w, typed.Code.Wire().HTTP, typed)
		return
	}
	writeBody(w, http.StatusOK, body)
}
