package entity

import (
	"context"
	"testing"
	"time"
)

// asked is a journal that keeps the context of its last append.
type asked struct {
	Journal
	ctx context.Context
	err error // of ctx, while the append ran
}

func (j *asked) Append(ctx context.Context, _ Append) (uint64, error) {
	j.ctx, j.err = ctx, ctx.Err()
	return 1, nil
}

// An append isn't cut off by the end of its actor: half of what the caller was to be told would be stored, and nobody would know. It has a limit
// of its own.
func TestAnAppendOutlivesItsActor(t *testing.T) {
	j := &asked{}
	life, end := context.WithCancel(t.Context())
	s := &shell[int]{o: Options{Journal: j, AppendTimeout: time.Hour}, life: life, endLife: end}
	end()
	if _, err := s.Append(Append{}); err != nil || j.err != nil {
		t.Errorf("the append ended with its actor: %v %v", err, j.err)
	}
	if _, limited := j.ctx.Deadline(); !limited {
		t.Error("the append has no limit")
	}
}
