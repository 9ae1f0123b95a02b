package engine

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	d := open(t, nil)
	long := strings.Repeat("word ", 300)
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"POST", "/v1/chat/completions", `{`, 400, "not a valid JSON"},
		{"POST", "/v1/chat/completions", `{}`, 400, "'messages' is required"},
		{"POST", "/v1/chat/completions", `{"messages":"x"}`, 400, `\"messages\" must be`},
		{"POST", "/v1/chat/completions", `{"messages":[{"content":"x"}]}`, 400, "'role'"},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user"}]}`, 400, "'content'"},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "only content parts"},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"n":2}`, 400, "only one choice"},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"max_tokens":-2}`, 400, "max_tokens"},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"temperature":"hot"}`, 400, `\"temperature\" must be`},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"top_logprobs":2}`, 400, "requires logprobs"},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}}`, 400, "response_format"},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"stop":3}`, 400, "stop"},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"repeat_penalty":0}`, 400, "repeat_penalty"},
		{"POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"` + long + `"}]}`, 400, `"type":"exceed_context_size_error"`},
		{"POST", "/completion", `{}`, 400, "prompt"},
		{"POST", "/completion", `{"prompt":[1,99999]}`, 400, "not in the vocabulary"},
		{"POST", "/completion", `{"prompt":["a","b"]}`, 400, "only one prompt"},
		{"POST", "/completion", `{"prompt":[]}`, 400, "empty"},
		{"POST", "/completion", `{"prompt":{}}`, 400, "a prompt is"},
		{"POST", "/completion", `{"prompt":"a","logit_bias":[["a","b"]]}`, 400, "logit_bias"},
		{"POST", "/completion", `{"prompt":"a","grammar":"root ::= x"}`, 400, "not supported"},
		{"POST", "/v1/embeddings", `{}`, 400, "must be provided"},
		{"POST", "/v1/embeddings", `{"input":"a","encoding_format":"hex"}`, 400, "encoding_format"},
		{"POST", "/v1/embeddings", `{"input":"` + long + `"}`, 400, "n_prompt_tokens"},
		{"POST", "/detokenize", `{"tokens":[-1]}`, 400, "vocabulary"},
		{"POST", "/nowhere", `{}`, 404, "not_found_error"},
		{"GET", "/completion", ``, 405, "use POST"},
	} {
		w := d.do(c.method, c.path, c.body)
		var e struct {
			Error struct {
				Code    int
				Message string
				Type    string
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Error.Code != w.Code || e.Error.Message == "" || e.Error.Type == "" {
			t.Errorf("%s %s: no error object: %s", c.path, c.body, w.Body)
		}
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %.80s: %d %s, want %d and %q", c.path, c.body, w.Code, w.Body, c.code, c.want)
		}
	}
}

func TestMalformedRequestsNeverPanic(t *testing.T) {
	d := open(t, nil)
	for _, path := range []string{"/completion", "/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/tokenize", "/detokenize", "/apply-template"} {
		for _, body := range []string{"", "null", "[]", "1", `"x"`, `{"prompt":null,"messages":null,"input":null,"tokens":null,"content":null}`,
			`{"messages":[null]}`, `{"prompt":[null]}`, `{"input":[[]]}`, `{"input":[[1],"a"]}`, `{"prompt":[[1,"a"]],"n_predict":0}`} {
			if w := d.do("POST", path, body); w.Code >= 500 {
				t.Errorf("%s %s: %d %s", path, body, w.Code, w.Body)
			}
		}
	}
}

// No request may crash the server or make it blame itself.
func FuzzRequests(f *testing.F) {
	paths := []string{"/completion", "/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/tokenize", "/detokenize", "/apply-template"}
	f.Add(uint8(0), `{"prompt":["a",1],"n_predict":2,"stop":["x"],"logit_bias":[[1,false]],"n_probs":2,"stream":true}`)
	f.Add(uint8(2), `{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"max_tokens":1,"logprobs":true,"seed":3,"top_p":0.5}`)
	f.Add(uint8(3), `{"input":[[1,2],[3]],"encoding_format":"base64"}`)
	o, err := Options{ModelPath: tinyPath}.withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	s := newServer(o)
	s.open(tiny(f))
	f.Fuzz(func(t *testing.T, path uint8, body string) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", paths[int(path)%len(paths)], strings.NewReader(body)))
		if w.Code == 500 {
			t.Errorf("%s: %s", body, w.Body)
		}
	})
}
