package engine

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
)

// choices is an answer of /v1/completions as these tests read it.
type choices struct {
	Choices []struct {
		Text         string
		Index        int
		FinishReason string `json:"finish_reason"`
	}
	Usage struct {
		Completion int `json:"completion_tokens"`
		Prompt     int `json:"prompt_tokens"`
		Items      []struct {
			Completion int `json:"completion_tokens"`
			Prompt     int `json:"prompt_tokens"`
		}
	}
}

// Each prompt of a list gets what it would get alone, at its own index; more prompts than slots wait for theirs.
func TestPromptsOfAListAreAnsweredAsAlone(t *testing.T) {
	d := open(t, func(o *Options) { o.Slots = 2 })
	var prompts []any
	for _, g := range goldens(t).Greedy {
		prompts = append(prompts, g.Prompt)
	}
	prompts = append(prompts, "Anne", "Emma went", prompts[0])
	got := post[choices](d, "/v1/completions", fields{"prompt": prompts, "max_tokens": 6, "temperature": 0})
	if len(got.Choices) != len(prompts) || len(got.Usage.Items) != len(prompts) {
		t.Fatalf("%d choices, %d counts for %d prompts", len(got.Choices), len(got.Usage.Items), len(prompts))
	}
	completion, asked := 0, 0
	for i, prompt := range prompts {
		alone := post[choices](d, "/v1/completions", fields{"prompt": prompt, "max_tokens": 6, "temperature": 0})
		want := alone.Choices[0]
		want.Index = i
		if got.Choices[i] != want {
			t.Errorf("prompt %d: %+v, alone %+v", i, got.Choices[i], want)
		}
		if n := got.Usage.Items[i]; n.Completion != alone.Usage.Completion || n.Prompt != alone.Usage.Prompt || alone.Usage.Items != nil {
			t.Errorf("prompt %d: counted %+v, alone %+v", i, n, alone.Usage)
		}
		completion, asked = completion+alone.Usage.Completion, asked+alone.Usage.Prompt
	}
	if got.Usage.Completion != completion || got.Usage.Prompt != asked {
		t.Errorf("counted %+v, want %d and %d", got.Usage, completion, asked)
	}
}

func TestPromptsOfAListAsTokensAndAsStream(t *testing.T) {
	d := open(t, nil)
	encode := d.s.engine.Load().model.Tokens.Encode
	lists := []any{encode("Anne", true, true), encode("Emma went", true, true)}
	whole := post[choices](d, "/v1/completions", fields{"prompt": lists, "max_tokens": 5, "temperature": 0})
	w := d.do("POST", "/v1/completions", `{"prompt":["Anne","Emma went"],"max_tokens":5,"temperature":0,"stream":true,"stream_options":{"include_usage":true}}`)
	texts, reasons := make([]string, 2), make([]string, 2)
	list := events(t, w.Body)
	for _, data := range list[:len(list)-1] {
		var c choices
		if err := json.Unmarshal([]byte(data), &c); err != nil || len(c.Choices) != 1 {
			t.Fatalf("%v: %s", err, data)
		}
		texts[c.Choices[0].Index] += c.Choices[0].Text
		reasons[c.Choices[0].Index] = c.Choices[0].FinishReason
	}
	for i, c := range whole.Choices {
		if c.Text != texts[i] || c.FinishReason != reasons[i] || c.Text == "" {
			t.Errorf("%d: whole %+v, streamed %q %q", i, c, texts[i], reasons[i])
		}
	}
	if last := list[len(list)-2]; !strings.Contains(last, `"completion_tokens":10`) || strings.Count(w.Body.String()+strings.Join(list, ""), `"usage"`) != 1 {
		t.Errorf("the last event counts %s", last)
	}
}

func TestABadPromptOfAListIsNamedAndNothingRuns(t *testing.T) {
	d := open(t, nil)
	for body, want := range map[string]string{
		`{"prompt":[[1],[99999]]}`:                                   "not in the vocabulary",
		`{"prompt":[[1],"a",{}]}`:                                    "a prompt is",
		`{"prompt":["` + strings.Repeat("word ", 5000) + `","a"]}`:   "exceeds the available context",
		`{"prompt":[` + strings.Repeat(`"a",`, maxPrompts) + `"a"]}`: "at most 4096 prompts",
	} {
		if w := d.do("POST", "/v1/completions", body); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%.60s: %d %.200s", body, w.Code, w.Body)
		}
	}
}

func TestSpreadDoesEachOnceAndEndsAtTheFirstError(t *testing.T) {
	done := make([]int32, 50)
	err := spread(t.Context(), len(done), 4, func(_ context.Context, i int) error { atomic.AddInt32(&done[i], 1); return nil })
	want := make([]int32, 50)
	for i := range want {
		want[i] = 1
	}
	if err != nil || !reflect.DeepEqual(done, want) {
		t.Errorf("%v %v", err, done)
	}
	broken := errors.New("broken")
	var begun atomic.Int32
	err = spread(t.Context(), 1000, 2, func(ctx context.Context, i int) error {
		begun.Add(1)
		if i == 3 {
			return broken
		}
		if i > 3 {
			<-ctx.Done()
		}
		return ctx.Err()
	})
	if !errors.Is(err, broken) || begun.Load() > 10 {
		t.Errorf("%v after %d", err, begun.Load())
	}
}
