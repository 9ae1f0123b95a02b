package openai

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"modelops/messages"
)

const (
	// bodyTime is how long a body may take to arrive.
	bodyTime = 60 * time.Second
	// Most clients read no answer before they have sent all they have. To let them see the 413, a body that is too large
	// is read to its end and thrown away, within these bounds.
	drainBytes = 256 << 20
	drainTime  = 5 * time.Second
	// trusted is how much memory is allocated for a declared length before the bytes arrive.
	trusted = 1 << 20
)

// readBody takes the whole body, at most limit bytes of it.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *refusal) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, invalid("Content-Encoding", "a compressed body can't be routed by its model: send it plain")
	}
	conn := http.NewResponseController(w)
	// A writer without a connection, as in tests, has no deadlines.
	_ = conn.SetReadDeadline(time.Now().Add(bodyTime))
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	if r.ContentLength > limit {
		return nil, tooLarge(w, r, conn, limit)
	}
	body, err := takeBody(r, limit)
	var cut *http.MaxBytesError
	switch {
	case errors.As(err, &cut):
		return nil, tooLarge(w, r, conn, cut.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{err: messages.Errorf(messages.DeadlineExceeded, "", "the body did not arrive within %s", bodyTime)}
	case err != nil:
		return nil, &refusal{err: messages.NewError(messages.InvalidArgument, "", "the body broke off before its end").WithCause(err)}
	case int64(len(body)) > limit:
		return nil, tooLarge(w, r, conn, limit)
	}
	return body, nil
}

// takeBody reads at most one byte more than limit.
func takeBody(r *http.Request, limit int64) ([]byte, error) {
	if n := r.ContentLength; n >= 0 && n <= trusted {
		body := make([]byte, n)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	return io.ReadAll(io.LimitReader(r.Body, limit+1))
}

func tooLarge(w http.ResponseWriter, r *http.Request, conn *http.ResponseController, limit int64) *refusal {
	w.Header().Set("Connection", "close")
	// A client that waits for "100 Continue" has sent nothing yet, and reading would ask for it.
	if r.Header.Get("Expect") == "" {
		_ = conn.SetReadDeadline(time.Now().Add(drainTime))
		_, _ = io.CopyN(io.Discard, r.Body, drainBytes)
	}
	return &refusal{err: messages.Errorf(messages.PayloadTooLarge, "", "the body is larger than %s", messages.FormatBytes(uint64(limit))).
		WithHint("send less, or raise the limit on request bodies")}
}
