package gateway

import (
	"context"
	"errors"
	"slices"
	"testing"

	"modelops/messages"
)

// told is a recorder that keeps its calls.
type told []string

func (r *told) Begin(_ context.Context, model string) Record {
	*r = append(*r, "begin "+model)
	return r
}
func (r *told) Granted(g *messages.Grant) { *r = append(*r, "granted "+g.Model+" "+g.URL) }
func (r *told) Ended(err error) {
	end := "ended"
	if err != nil {
		end += " " + messages.CodeOf(err).String()
	}
	*r = append(*r, end)
}

// The recorder is told of each request once from its arrival to its end, at any door.
func TestRequestsAreRecorded(t *testing.T) {
	const place = "granted tiny http://127.0.0.1:9"
	tries := 0
	runs := map[string]runner{
		"well": func(context.Context, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
			return &messages.InferenceResponse{}, nil
		},
		"badly": func(context.Context, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
			return nil, errors.New("a bug")
		},
		"sent again": func(context.Context, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
			if tries++; tries == 1 {
				return nil, errBeforeFirstByte
			}
			return &messages.InferenceResponse{}, nil
		},
	}
	for name, c := range map[string]struct {
		model string
		ask   func(*Gateway, string)
		want  []string
	}{
		"a place is taken and given back": {"small", func(g *Gateway, model string) {
			grant, err := g.Admit(t.Context(), model)
			if err != nil {
				t.Fatal(err)
			}
			grant.Release(messages.Outcome{Err: context.Canceled})
		}, []string{"begin small", place, "ended CANCELLED"}},
		"there is no such model": {"other", func(g *Gateway, model string) { _, _ = g.Admit(t.Context(), model) },
			[]string{"begin other", "ended MODEL_NOT_FOUND"}},
		"well":       {"tiny", nil, []string{"begin tiny", place, "ended"}},
		"badly":      {"tiny", nil, []string{"begin tiny", place, "ended INTERNAL"}},
		"sent again": {"tiny", nil, []string{"begin tiny", place, place, "ended"}},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := rig(1, "ready")
			var heard told
			g.o.Recorder, g.o.Runner = &heard, runs[name]
			if c.ask == nil {
				c.ask = func(g *Gateway, model string) {
					_, _ = g.Infer(t.Context(), &messages.InferenceRequest{ModelName: model}, nil)
				}
			}
			c.ask(g, c.model)
			if !slices.Equal(heard, c.want) {
				t.Errorf("heard %q, want %q", []string(heard), c.want)
			}
		})
	}
}
