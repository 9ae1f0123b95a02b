package train

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func smallReader(t testing.TB, template string) *reader {
	t.Helper()
	path := t.TempDir() + "/small.gguf"
	if _, err := writeModel(path, smallWeights(t, template)); err != nil {
		t.Fatal(err)
	}
	m, err := openModel(t.Context(), "--base", path, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	return m.reader
}

// learnt is the text that is to be learnt of a row, with the names of control tokens.
func learnt(r *reader, x row) string {
	var ids []int32
	for i, id := range x.tokens {
		if x.learn[i] {
			ids = append(ids, id)
		}
	}
	return strings.ReplaceAll(r.tokens.Decode(ids), "\u2581", " ")
}

func TestWhatIsLearnt(t *testing.T) {
	r := smallReader(t, chatTemplate)
	examples, sum, err := r.file(written(t, smallChats+smallPairs), nil)
	if err != nil || len(examples) != 6 || len(sum) != 64 {
		t.Fatal(len(examples), sum, err)
	}
	for i, want := range []struct{ text, learnt, rejected string }{
		{"<s><|user|>ab</s><|assistant|>ba</s>", "ba</s>", ""},
		{"<s><|system|>s</s><|user|>b</s><|assistant|>aa</s><|user|>c</s><|assistant|>cc</s>", "aa</s>cc</s>", ""},
		{"<s><|user|>c</s><|assistant|>a b</s>", "a b</s>", ""},
		{"<s><|user|>ab</s><|assistant|>ba</s>", "ba</s>", "xyz</s>"},
	} {
		e := examples[i]
		text, got := strings.ReplaceAll(r.tokens.Decode(e.chat.tokens), "\u2581", " "), learnt(r, e.chat)
		if text != want.text || got != want.learnt {
			t.Errorf("row %d: %q, of which %q is learnt", i, text, got)
		}
		if (e.rejected != nil) != (want.rejected != "") || e.rejected != nil && learnt(r, *e.rejected) != want.rejected {
			t.Errorf("row %d: rejected is %+v", i, e.rejected)
		}
	}
}

// After the token that ends an answer a template may write more, which the model never has to say.
func TestWhatFollowsTheEndIsNotLearnt(t *testing.T) {
	r := smallReader(t, strings.ReplaceAll(chatTemplate, "'</s>'", "'</s>\n'"))
	examples, _, err := r.file(written(t, smallChats), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := learnt(r, examples[0].chat); got != "ba</s>" {
		t.Errorf("%q is learnt", got)
	}
}

// Of a chat with earlier answers only the compared one counts in a preference pair.
func TestPairsCompareTheLastAnswer(t *testing.T) {
	r := smallReader(t, chatTemplate)
	line := `{"messages": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "zz"}, {"role": "user", "content": "c"}], "chosen": "yes", "rejected": "no"}`
	examples, _, err := r.file(written(t, line), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := learnt(r, examples[0].chat), learnt(r, *examples[0].rejected); a != "yes</s>" || b != "no</s>" {
		t.Errorf("%q and %q are compared", a, b)
	}
}

func TestBadRows(t *testing.T) {
	r := smallReader(t, chatTemplate)
	for line, says := range map[string]string{
		`[]`:                               "isn't a row",
		`"x"`:                              "isn't a row",
		`{"messages": 3}`:                  "isn't a row",
		`{}`:                               `needs "messages"`,
		`{"messages": []}`:                 "no messages",
		`{"user": "a"}`:                    `needs "messages"`,
		`{"messages": [{"role": "user"}]}`: "message 0 needs",
		`{"messages": [{"role": "tool", "content": "x"}]}`:                                      "message 0 needs",
		`{"messages": [{"role": "user", "content": "x"}]}`:                                      "nothing to learn",
		`{"user": "a", "assistant": " "}`:                                                       "is empty",
		`{"chosen": "a", "rejected": "b"}`:                                                      `needs "prompt"`,
		`{"prompt": "p", "chosen": "a"}`:                                                        `needs "chosen" and "rejected"`,
		`{"prompt": "p", "chosen": "a", "rejected": "a"}`:                                       "the same",
		`{"prompt": "p", "chosen": "a", "rejected": ""}`:                                        "rejected: message 1, an answer, is empty",
		`{"messages": [{"role": "assistant", "content": "x"}], "chosen": "a", "rejected": "b"}`: "is the assistant's",
		"{\"user\": \"\xff\", \"assistant\": \"a\"}":                                            "UTF-8",
	} {
		_, _, err := r.file(written(t, "\n"+line+"\n"), nil)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "rows.jsonl:2") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// A template that shows a prompt differently once it is answered can't be learnt from, and says so.
func TestATemplateThatChangesThePrompt(t *testing.T) {
	r := smallReader(t, "{% for m in messages %}{{ messages | length }}{{ m['content'] }}{% endfor %}")
	if _, _, err := r.file(written(t, smallChats), nil); err == nil || !strings.Contains(err.Error(), "shows the prompt differently") {
		t.Error(err)
	}
}

// No garbage makes the reader panic, and what it takes can be computed: every row has something to learn behind its prompt.
func FuzzRows(f *testing.F) {
	r := smallReader(f, chatTemplate)
	for _, line := range strings.Split(smallChats+smallPairs, "\n") {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := r.line(line, nil)
		if err != nil {
			return
		}
		for _, row := range e.rows() {
			if row.answers() == 0 || len(row.tokens) > r.length || slices.Contains(row.learn[:e.prompt], true) && e.rejected != nil {
				t.Fatalf("%q gives %+v", line, row)
			}
		}
	})
}

// Epochs differ in their order, and so do seeds.
func TestOrdersDiffer(t *testing.T) {
	const n = 30
	a, b := order{seed: 1, rows: n}, order{seed: 2, rows: n}
	epochs, seeds := 0, 0
	for i := range n {
		if a.at(i) == a.at(n+i) {
			epochs++
		}
		if a.at(i) == b.at(i) {
			seeds++
		}
	}
	if epochs > n/2 || seeds > n/2 {
		t.Error("of", n, "places", epochs, "are the same in the next epoch and", seeds, "with another seed")
	}
}

// Every epoch has every row once, and the same position always the same row.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, seed := rapid.IntRange(1, 50).Draw(t, "rows"), rapid.Uint64().Draw(t, "seed")
		o := order{seed: seed, rows: n}
		var first []int
		for epoch := range 3 {
			var seen []int
			for i := range n {
				seen = append(seen, o.at(epoch*n+i))
			}
			if epoch == 0 {
				first = slices.Clone(seen)
			}
			slices.Sort(seen)
			for i, row := range seen {
				if i != row {
					t.Fatal("an epoch has", seen)
				}
			}
		}
		again := order{seed: seed, rows: n}
		again.at(2 * n)
		for i, want := range first {
			if again.at(i) != want {
				t.Fatal("the order depends on what was asked before")
			}
		}
	})
}
