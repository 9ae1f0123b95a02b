package messages

import "testing"

// A wrong, missing, extra or exchanged letter in a short name is forgiven, and in a long one more; case and punctuation don't count.
func TestNearest(t *testing.T) {
	known := []string{"tiny", "tiny-chat", "qwen3-coder:30b", "rest_port"}
	for word, want := range map[string]string{
		"tniy": "tiny", "tinny": "tiny", "tin": "tiny", "tinx": "tiny", "TINY": "tiny",
		"tiny-caht": "tiny-chat", "qwen3coder:30b": "qwen3-coder:30b", "qwen": "qwen3-coder:30b", "restPort": "rest_port", "rset_prot": "rest_port",
		"tyni": "", "yint": "", "gemma": "", "": "", "ynti": "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
