package engine

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

const tinyPath = "../../testdata/model/tiny.gguf"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type golden struct {
	Greedy []struct {
		Prompt       string  `json:"prompt"`
		PromptTokens []int32 `json:"prompt_tokens"`
		Tokens       []int32 `json:"tokens"`
		Text         string  `json:"text"`
		Stop         string  `json:"stop"`
		FirstTop5    []struct {
			ID      int32   `json:"id"`
			Token   string  `json:"token"`
			Logprob float64 `json:"logprob"`
		} `json:"first_top5"`
	} `json:"greedy"`
	Chat []struct {
		User         string         `json:"user"`
		Assistant    string         `json:"assistant"`
		FinishReason string         `json:"finish_reason"`
		Usage        map[string]int `json:"usage"`
		Rendered     string         `json:"rendered"`
	} `json:"chat"`
	Tokenize []struct {
		Text               string  `json:"text"`
		Tokens             []int32 `json:"tokens"`
		TokensParseSpecial []int32 `json:"tokens_parse_special"`
		Detokenized        string  `json:"detokenized"`
	} `json:"tokenize"`
	Embeddings []struct {
		Text         string    `json:"text"`
		PromptTokens int       `json:"prompt_tokens"`
		Vector       []float64 `json:"vector"`
	} `json:"embeddings"`
}

var loadGolden = sync.OnceValues(func() (golden, error) {
	var g golden
	b, err := os.ReadFile("../../testdata/model/golden.json")
	if err != nil {
		return g, err
	}
	return g, json.Unmarshal(b, &g)
})

func goldens(t *testing.T) golden {
	t.Helper()
	g, err := loadGolden()
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Greedy) == 0 || len(g.Chat) == 0 || len(g.Tokenize) == 0 || len(g.Embeddings) == 0 {
		t.Fatal("golden.json lacks a section")
	}
	return g
}

var loadTiny = sync.OnceValues(func() (*Model, error) {
	return Load(context.Background(), tinyPath, 0, nil)
})

func tiny(t testing.TB) *Model {
	t.Helper()
	m, err := loadTiny()
	if err != nil {
		t.Fatal(err)
	}
	return m
}
