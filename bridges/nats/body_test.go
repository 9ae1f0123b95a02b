package natsapi

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

func TestBodiesInTheWordsOfOpenAI(t *testing.T) {
	chat := []*messages.ChatMessage{{Role: "system", Content: "be brief"}, {Role: "user", Content: "hi there"}}
	for body, want := range map[string]*messages.InferenceRequest{
		`{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"hi "},{"type":"text","text":"there"}]}],
			"max_completion_tokens":5,"temperature":0,"stop":"\n","stream":true,"user":"me","n":1,"stream_options":{"include_usage":true}}`: {
			ModelName: "m", Messages: chat, MaxTokens: 5, Temperature: proto.Float32(0), Stop: []string{"\n"}, Stream: true},
		`{"model":"m","prompt":"p","top_p":0.9,"seed":7,"logit_bias":{"5":-100},"top_k":null,"stop":["a","b"],"max_tokens":3}`: {
			ModelName: "m", Prompt: "p", MaxTokens: 3, Stop: []string{"a", "b"}, Parameters: map[string]string{"top_p": "0.9", "seed": "7", "logit_bias": `{"5":-100}`}},
		`{"prompt":"p","parameters":{"seed":"7"},"top_p":1}`:                  {Prompt: "p", Parameters: map[string]string{"seed": "7", "top_p": "1"}},
		`{"prompt":"p","parameters":null,"top_p":1,"request_id":"r"}`:         {Prompt: "p", RequestId: "r", Parameters: map[string]string{"top_p": "1"}},
		`{"modelName":"m","messages":[{"role":"user","content":"hi there"}]}`: {ModelName: "m", Messages: chat[1:]},
		`{"model":null,"prompt":"p","stop":null}`:                             {Prompt: "p"},
	} {
		got, err := parseInference([]byte(body))
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("%s:\n got %v, %v\nwant %v", body, got, err, want)
		}
	}
	for body, says := range map[string]string{
		`{"model":"m","prompt":"p","tools":[]}`:             `unknown field "tools"`,
		`{"prompt":"p","seed":1,"parameters":{"seed":"2"}}`: "parameters too",
		`{"prompt":"p","seed":1,"parameters":[]}`:           "no object",
		`{"messages":[{"role":"user","content":[1]}]}`:      "neither text",
		`{"messages":"hi"}`:                                 "messages",
		`{"messages":[null]}`:                               "messages",
	} {
		if _, err := parseInference([]byte(body)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// Any name can end a subject and comes back from it.
func TestTokensComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[.a*> %ä/:-]{1,8}`)).Draw(t, "name")
		if name == "" {
			return
		}
		token := Token(name)
		if strings.ContainsAny(token, "*> \t\n") || strings.HasPrefix(token, ".") || strings.HasSuffix(token, ".") || strings.Contains(token, "..") {
			t.Fatalf("%q gives the subject %q", name, token)
		}
		if back, err := Name(token); err != nil || back != name {
			t.Fatalf("%q came back as %q, %v", name, back, err)
		}
	})
}

func FuzzParseInference(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"seed":1,"stop":"a","parameters":{}}`))
	f.Add([]byte(`{"prompt":"p"}`))
	f.Add([]byte(`{"parameters":null,"top_p":1,"messages":[null]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseInference(body)
		if err != nil && messages.CodeOf(err) != messages.InvalidArgument && messages.CodeOf(err) != messages.Unsupported {
			t.Errorf("%v", err)
		}
		if err != nil {
			return
		}
		again, err := shown.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseInference(again)
		if err != nil || !proto.Equal(back, r) {
			// NaN is equal to nothing, itself included.
			if r.Temperature == nil || *r.Temperature == *r.Temperature {
				t.Errorf("%s came back as %v, %v", again, back, err)
			}
		}
	})
}
