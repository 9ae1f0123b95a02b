package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// door is a server with a loaded model, for requests without a network.
type door struct {
	t *testing.T
	s *server
}

func open(t *testing.T, change func(*Options)) door {
	t.Helper()
	o := Options{ModelPath: tinyPath, Alias: "tiny"}
	if change != nil {
		change(&o)
	}
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(o)
	s.open(tiny(t))
	return door{t, s}
}

func (d door) do(method, path, body string) *httptest.ResponseRecorder {
	d.t.Helper()
	w := httptest.NewRecorder()
	d.s.ServeHTTP(w, httptest.NewRequestWithContext(d.t.Context(), method, path, strings.NewReader(body)))
	return w
}

// post sends a request that must succeed and decodes the answer.
func post[T any](d door, path string, request any) T {
	d.t.Helper()
	b, err := json.Marshal(request)
	if err != nil {
		d.t.Fatal(err)
	}
	w := d.do(http.MethodPost, path, string(b))
	if w.Code != http.StatusOK {
		d.t.Fatalf("%s %s: %d %s", path, b, w.Code, w.Body)
	}
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		d.t.Fatalf("%s: %v: %s", path, err, w.Body)
	}
	return v
}

type fields = map[string]any

func chatRequest(user string, more fields) fields {
	f := fields{"messages": []fields{{"role": "user", "content": user}}, "temperature": 0}
	for k, v := range more {
		f[k] = v
	}
	return f
}

// events splits a stream; the "[DONE]" comes last as such.
func events(t *testing.T, body io.Reader) []string {
	t.Helper()
	var out []string
	for lines := bufio.NewScanner(body); lines.Scan(); {
		if line := lines.Text(); line != "" {
			data, ok := strings.CutPrefix(line, "data: ")
			if !ok {
				t.Fatalf("not an event: %q", line)
			}
			out = append(out, data)
		}
	}
	return out
}

func TestCompletionMatchesGolden(t *testing.T) {
	d := open(t, nil)
	type result struct {
		Content         string  `json:"content"`
		Tokens          []int32 `json:"tokens"`
		StopType        string  `json:"stop_type"`
		TokensEvaluated int     `json:"tokens_evaluated"`
		Probs           []struct {
			ID      int32   `json:"id"`
			Logprob float64 `json:"logprob"`
			Top     []struct {
				ID      int32   `json:"id"`
				Token   string  `json:"token"`
				Logprob float64 `json:"logprob"`
			} `json:"top_logprobs"`
		} `json:"completion_probabilities"`
	}
	for _, g := range goldens(t).Greedy {
		for round := range 2 { // the second finds the prompt in the cache
			got := post[result](d, "/completion", fields{"prompt": g.PromptTokens, "n_predict": 32, "temperature": 0,
				"return_tokens": true, "n_probs": 5})
			if !slices.Equal(got.Tokens, g.Tokens) || got.Content != g.Text || got.StopType != g.Stop || got.TokensEvaluated != len(g.PromptTokens) {
				t.Errorf("%q round %d: %+v", g.Prompt, round, got)
			}
			for i, want := range g.FirstTop5 {
				if top := got.Probs[0].Top[i]; top.ID != want.ID || top.Token != want.Token || math.Abs(top.Logprob-want.Logprob) > 1e-3 {
					t.Errorf("%q: choice %d is %+v, want %+v", g.Prompt, i, top, want)
				}
			}
		}
	}
}

func TestChatMatchesGolden(t *testing.T) {
	d := open(t, nil)
	type result struct {
		ID, Object, Model string
		Choices           []struct {
			Message      struct{ Role, Content string }
			FinishReason string `json:"finish_reason"`
		}
		Usage   map[string]any
		Timings map[string]float64
	}
	for _, g := range goldens(t).Chat {
		got := post[result](d, "/v1/chat/completions", chatRequest(g.User, nil))
		c := got.Choices[0]
		if c.Message.Content != g.Assistant || c.Message.Role != "assistant" || c.FinishReason != g.FinishReason {
			t.Errorf("%q: %+v", g.User, c)
		}
		if got.Object != "chat.completion" || got.Model != "tiny" || !strings.HasPrefix(got.ID, "chatcmpl-") || got.Timings["predicted_n"] == 0 {
			t.Errorf("%q: frame %+v", g.User, got)
		}
		for k, v := range g.Usage {
			if got.Usage[k] != float64(v) {
				t.Errorf("%q: usage %s is %v, want %d", g.User, k, got.Usage[k], v)
			}
		}
		rendered := post[struct{ Prompt string }](d, "/apply-template", chatRequest(g.User, nil))
		if rendered.Prompt != g.Rendered {
			t.Errorf("%q: rendered %q, want %q", g.User, rendered.Prompt, g.Rendered)
		}
	}
}

func TestTokenizePathsMatchGolden(t *testing.T) {
	d := open(t, nil)
	type tokens struct{ Tokens []int32 }
	for _, g := range goldens(t).Tokenize {
		plain := post[tokens](d, "/tokenize", fields{"content": g.Text, "parse_special": false})
		special := post[tokens](d, "/tokenize", fields{"content": g.Text})
		text := post[struct{ Content string }](d, "/detokenize", fields{"tokens": g.Tokens})
		if !slices.Equal(plain.Tokens, g.Tokens) || !slices.Equal(special.Tokens, g.TokensParseSpecial) || text.Content != g.Detokenized {
			t.Errorf("%q: %v %v %q", g.Text, plain, special, text)
		}
	}
	if w := d.do("POST", "/tokenize", `{"content":"é","with_pieces":true,"add_special":true}`); w.Body.String() !=
		`{"tokens":[{"id":1,"piece":"<s>"},{"id":201,"piece":[195]},{"id":175,"piece":[169]}]}` {
		t.Errorf("pieces: %s", w.Body)
	}
}

func TestChatStream(t *testing.T) {
	d := open(t, nil)
	b, _ := json.Marshal(chatRequest("Count to five.", fields{"stream": true, "stream_options": fields{"include_usage": true}, "logprobs": true, "top_logprobs": 2}))
	w := d.do("POST", "/v1/chat/completions", string(b))
	if ct := w.Header().Get("Content-Type"); ct != "text/event-stream" {
		t.Fatalf("%s: %s", ct, w.Body)
	}
	list := events(t, w.Body)
	if list[len(list)-1] != "[DONE]" {
		t.Fatalf("no end: %q", list)
	}
	if !strings.Contains(list[0], `"delta":{"role":"assistant","content":null}`) || !strings.Contains(list[0], `"finish_reason":null`) {
		t.Errorf("first event: %s", list[0])
	}
	var text, reason string
	var probs int
	var last struct {
		Choices []struct{}
		Usage   map[string]any
	}
	for _, data := range list[:len(list)-1] {
		var c struct {
			Object  string
			Choices []struct {
				Delta        struct{ Content string }
				FinishReason string `json:"finish_reason"`
				Logprobs     struct {
					Content []struct {
						Top []struct{} `json:"top_logprobs"`
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(data), &c); err != nil || c.Object != "chat.completion.chunk" {
			t.Fatalf("%v: %s", err, data)
		}
		for _, choice := range c.Choices {
			text += choice.Delta.Content
			reason += choice.FinishReason
			for _, p := range choice.Logprobs.Content {
				if probs++; len(p.Top) != 2 {
					t.Errorf("%d alternatives: %s", len(p.Top), data)
				}
			}
		}
	}
	if text != "One, two, three, four, five." || reason != "stop" || probs != 12 {
		t.Errorf("text %q, reason %q, %d log-probabilities", text, reason, probs)
	}
	if err := json.Unmarshal([]byte(list[len(list)-2]), &last); err != nil || len(last.Choices) != 0 || last.Usage["completion_tokens"] != 12.0 {
		t.Errorf("usage event: %s", list[len(list)-2])
	}
}

func TestTextCompletions(t *testing.T) {
	d := open(t, nil)
	w := d.do("POST", "/v1/completions", `{"prompt":"Anne","max_tokens":5,"temperature":0,"stream":true,"stream_options":{"include_usage":true}}`)
	list := events(t, w.Body)
	var text string
	for _, data := range list[:len(list)-1] {
		var c struct{ Choices []struct{ Text string } }
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatal(err)
		}
		text += c.Choices[0].Text
	}
	if text != " was not sorry to see" || !strings.Contains(list[len(list)-2], `"finish_reason":"length"`) || !strings.Contains(list[len(list)-2], `"usage"`) {
		t.Errorf("%q: %s", text, list[len(list)-2])
	}
	w = d.do("POST", "/v1/completions", `{"prompt":["Anne"],"max_tokens":2,"temperature":0,"logprobs":1}`)
	for _, want := range []string{`"text":" was not"`, `"object":"text_completion"`, `"finish_reason":"length"`, `"logprobs":{"content":[{"id":311,`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s lacks %s", w.Body, want)
		}
	}
	w = d.do("POST", "/completion", `{"prompt":"Anne","n_predict":3,"temperature":0,"stream":true}`)
	list = events(t, w.Body)
	if last := list[len(list)-1]; !strings.Contains(last, `"stop":true`) || !strings.Contains(last, `"stop_type":"limit"`) || len(list) != 4 {
		t.Errorf("%d events, last %s", len(list), last)
	}
}

// The stream's tokens are all the tokens, EOS included.
func TestStreamCarriesEveryToken(t *testing.T) {
	d := open(t, nil)
	g := goldens(t).Greedy[3]
	b, _ := json.Marshal(fields{"prompt": g.PromptTokens, "temperature": 0, "stream": true})
	var tokens []int32
	for _, data := range events(t, d.do("POST", "/completion", string(b)).Body) {
		var c struct{ Tokens []int32 }
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, c.Tokens...)
	}
	if !slices.Equal(tokens, g.Tokens) {
		t.Errorf("%v, want %v", tokens, g.Tokens)
	}
}

// A stop string may begin and end in the middle of tokens; no part of it may leak into a stream.
func TestStopStrings(t *testing.T) {
	d := open(t, nil)
	answer := "The capital of France is Paris."
	for _, stop := range []string{"T", "l of Fr", "France is", "Paris", ".", " ", "capital of France is Paris."} {
		want, _, _ := strings.Cut(answer, stop)
		for _, stream := range []bool{false, true} {
			b, _ := json.Marshal(fields{"prompt": goldens(t).Greedy[3].PromptTokens, "temperature": 0, "stop": []string{"never", stop}, "stream": stream})
			w := d.do("POST", "/completion", string(b))
			list := []string{w.Body.String()}
			if stream {
				list = events(t, w.Body)
			}
			var text string
			var c struct {
				Content  string
				StopType string `json:"stop_type"`
				Word     string `json:"stopping_word"`
			}
			for _, data := range list {
				c.Content = ""
				if err := json.Unmarshal([]byte(data), &c); err != nil {
					t.Fatal(err)
				}
				text += c.Content
			}
			if text != want || c.StopType != "word" || c.Word != stop {
				t.Errorf("stop %q stream %v: %q (%s %q), want %q", stop, stream, text, c.StopType, c.Word, want)
			}
		}
	}
}

func TestContextFillsUp(t *testing.T) {
	d := open(t, nil)
	got := post[struct {
		Truncated bool
		StopType  string `json:"stop_type"`
		Predicted int    `json:"tokens_predicted"`
		Evaluated int    `json:"tokens_evaluated"`
	}](d, "/completion", fields{"prompt": "Anne", "temperature": 0, "ignore_eos": true})
	if !got.Truncated || got.StopType != "limit" || got.Predicted+got.Evaluated != 257 {
		t.Errorf("%+v", got)
	}
}

func TestInfoPaths(t *testing.T) {
	d := open(t, nil)
	post[fields](d, "/completion", fields{"prompt": "Anne", "n_predict": 4})
	for path, wants := range map[string][]string{
		"/health":    {`{"status":"ok"}`},
		"/v1/models": {`"id":"tiny"`, `"n_ctx_train":256`, `"n_vocab":2048`},
		"/props":     {`"total_slots":4`, `"model_alias":"tiny"`, `"chat_template":"{{ bos_token }}`, `"bos_token":"<s>"`},
		"/slots":     {`"id":3`, `"is_processing":false`, `"n_ctx":256`},
		"/metrics":   {"llamacpp_tokens_predicted_total 4\n", "# TYPE llamacpp_requests_deferred gauge\n", "llamacpp_prompt_tokens_total 3\n"},
	} {
		w := d.do("GET", path, "")
		for _, want := range wants {
			if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: %d %s lacks %s", path, w.Code, w.Body, want)
			}
		}
	}
}

func TestPrefillContinuesTheAssistant(t *testing.T) {
	d := open(t, nil)
	got := post[struct {
		Choices []struct{ Message struct{ Content string } }
	}](d, "/v1/chat/completions", fields{"temperature": 0, "messages": []fields{
		{"role": "user", "content": []fields{{"type": "text", "text": "What is the capital of France?"}}},
		{"role": "assistant", "content": "The capital of"}}})
	if c := got.Choices[0].Message.Content; c != "The capital of France is Paris." {
		t.Errorf("%q", c)
	}
}

func TestSeedDecidesTheText(t *testing.T) {
	d := open(t, nil)
	seen := map[string]bool{}
	for seed := range 5 {
		request := fields{"prompt": "Emma", "n_predict": 20, "seed": seed}
		a := post[struct{ Content string }](d, "/completion", request)
		b := post[struct{ Content string }](d, "/completion", request)
		if a != b {
			t.Errorf("seed %d: %q and %q", seed, a.Content, b.Content)
		}
		seen[a.Content] = true
	}
	if len(seen) < 4 {
		t.Errorf("five seeds gave %d texts", len(seen))
	}
}

func BenchmarkChatOneToken(b *testing.B) {
	o, _ := Options{ModelPath: tinyPath}.withDefaults()
	s := newServer(o)
	s.open(tiny(b))
	web := httptest.NewServer(s)
	defer web.Close()
	for i := range b.N {
		body := fmt.Sprintf(`{"messages":[{"role":"user","content":"What is three plus %d?"}],"max_tokens":1,"temperature":0}`, i%10)
		r, err := http.Post(web.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
}

func mustLoad(t *testing.T, path string) *Model {
	t.Helper()
	m, err := Load(context.Background(), path, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
