package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"modelops/messages"
)

const (
	// Most clients read no answer before they have sent all they have. To let them see the 413, a body that is too large
	// is read to its end and thrown away, within these bounds.
	drainBytes = 256 << 20
	drainTime  = 5 * time.Second
	// firstPiece is how much memory a body of unknown length has at first.
	firstPiece = 16 << 10
)

// readBody takes the whole body, at most limit bytes of it. Its memory is taken from the budget before it is read.
func readBody(ctx context.Context, w http.ResponseWriter, r *http.Request, limit int64, room *messages.Body) ([]byte, *refusal) {
	conn := http.NewResponseController(w) // the server bounds the body's silence and its time
	if r.ContentLength > limit {
		return nil, tooLarge(w, r, conn, limit)
	}
	if err := room.Grow(ctx, r.ContentLength); err != nil {
		discard(w, r, conn)
		return nil, refusalOf(err)
	}
	body, err := takeBody(ctx, r.Body, r.ContentLength, limit, room)
	var cut *http.MaxBytesError
	var typed *messages.Error
	switch {
	case errors.As(err, &typed):
		discard(w, r, conn)
		return nil, refusalOf(typed)
	case errors.As(err, &cut):
		return nil, tooLarge(w, r, conn, cut.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return nil, &refusal{anyway: true, err: messages.NewError(messages.DeadlineExceeded, "body", "it stopped arriving").WithHint("server.limits.body_stall and body_time bound its silence and its time")}
	case err != nil:
		return nil, &refusal{err: messages.NewError(messages.InvalidArgument, "", "the body broke off before its end").WithCause(err)}
	case int64(len(body)) > limit:
		return nil, tooLarge(w, r, conn, limit)
	}
	return body, nil
}

// takeBody reads at most one byte more than limit, without copying: a body of known length has its memory from the start, another one's doubles,
// and the larger memory is taken from the budget before it is allocated.
func takeBody(ctx context.Context, from io.Reader, length, limit int64, room *messages.Body) ([]byte, error) {
	if length >= 0 {
		body := make([]byte, length)
		_, err := io.ReadFull(from, body)
		return body, err
	}
	var body []byte
	for size := int64(firstPiece); ; size *= 2 {
		size = min(size, limit+1)
		if err := room.Grow(ctx, size-int64(cap(body))); err != nil {
			return nil, err
		}
		grown := make([]byte, len(body), size)
		copy(grown, body)
		body = grown
		var err error
		for n := 0; err == nil && len(body) < cap(body); body = body[:len(body)+n] {
			n, err = from.Read(body[len(body):cap(body)]) // io.ReadFull doesn't tell a body's end from one that broke off
		}
		switch {
		case err == io.EOF:
			return body, nil
		case err != nil || size == limit+1:
			return body, err
		}
	}
}

// discard reads a body that is refused, so that its sender sees why, and ends the connection.
func discard(w http.ResponseWriter, r *http.Request, conn *http.ResponseController) {
	w.Header().Set("Connection", "close")
	// A client that waits for "100 Continue" has sent nothing yet, and reading would ask for it.
	if r.Header.Get("Expect") == "" {
		_ = conn.SetReadDeadline(time.Now().Add(drainTime))
		_, _ = io.CopyN(io.Discard, r.Body, drainBytes)
	}
}

func tooLarge(w http.ResponseWriter, r *http.Request, conn *http.ResponseController, limit int64) *refusal {
	discard(w, r, conn)
	return &refusal{err: messages.Errorf(messages.PayloadTooLarge, "", "the body is larger than %s", messages.FormatBytes(uint64(limit))).
		WithHint("send less, or raise server.max_body_mb")}
}
