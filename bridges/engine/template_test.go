package engine

import (
	"strings"
	"testing"
)

const (
	llama2 = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}" +
		"{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}" +
		"{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}" +
		"{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}" +
		"{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}" +
		"{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
	llama3 = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + " +
		"'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}" +
		"{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
	zephyr = "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n" +
		"{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n" +
		"{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
	space = "{%- set ns = namespace(found=false) -%}\n  {%- for m in messages -%}\n {%- if m.role == 'system' -%}{%- set ns.found = true -%}{%- endif -%}{%- endfor -%}\n" +
		"{#- a comment -#} {{- 'yes' if ns.found else 'no' -}}  "
)

func conversation(pairs ...string) map[string]any {
	var messages []any
	for i := 0; i < len(pairs); i += 2 {
		messages = append(messages, map[string]any{"role": pairs[i], "content": pairs[i+1]})
	}
	return map[string]any{"messages": messages, "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true}
}

func TestTemplateFamilies(t *testing.T) {
	for _, c := range []struct {
		name, template string
		vars           map[string]any
		want           string
	}{
		{"tiny", tiny(t).Template, conversation("system", "S", "user", "U"), "<s><|system|>S</s><|user|>U</s><|assistant|>"},
		{"chatml", chatML, conversation("user", "U"), "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"},
		{"llama-2", llama2, conversation("system", "S", "user", " U ", "assistant", "A", "user", "V"),
			"<s>[INST] <<SYS>>\nS\n<</SYS>>\n\n U [/INST] A </s><s>[INST] V [/INST]"},
		{"llama-3", llama3, conversation("user", " U "), "<s><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		{"zephyr", zephyr, conversation("user", "U"), "<|user|>\nU</s>\n<|assistant|>\n"},
		{"namespace", space, conversation("user", "U", "system", "S"), "yes"},
		{"namespace, not set", space, conversation("user", "U"), "no"},
	} {
		tpl, err := parseTemplate(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got, err := tpl.render(c.vars); got != c.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestTemplateExpressions(t *testing.T) {
	vars := map[string]any{"l": []any{"a", "b", "c"}, "m": map[string]any{"k": "v"}, "s": "Straße", "n": float64(7), "nothing": nil}
	for text, want := range map[string]string{
		"1 + 2 * 3":               "7",
		"(1 + 2) * 3":             "9",
		"-n + 1":                  "-6",
		"n % 4 == 3 and not none": "True",
		"l[-1] ~ l[0]":            "ca",
		"l[1:] | join('-')":       "b-c",
		"l[:-1] | length":         "2",
		"s[4:]":                   "ße",
		"'a' in l":                "True",
		"'x' not in l":            "True",
		"'k' in m":                "True",
		"m.k ~ m['k']":            "vv",
		"m.missing is defined":    "False",
		"gone is not defined":     "True",
		"gone | default('d')":     "d",
		"gone or 'x'":             "x",
		"nothing is none":         "True",
		"' x '.strip() | upper":   "X",
		"'a,b'.split(',') | last": "b",
		"m.get('q', 'z')":         "z",
		"'it''s'":                 "",
		"'a' if n > 6 else 'b'":   "a",
		"[1, 2] | tojson":         "[1,2]",
		"'}}'":                    "}}",
		"'is' + 'in'":             "isin",
	} {
		tpl, err := parseTemplate("{{ " + text + " }}")
		if want == "" {
			if err == nil {
				t.Errorf("%s: no error", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := tpl.render(vars); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestTemplateErrorsAreClear(t *testing.T) {
	for text, want := range map[string]string{
		"{% macro x() %}{% endmacro %}":          "macro",
		"{{ x | fancy }}":                        `filter "fancy"`,
		"{{ strftime_now('%d') }}":               "strftime_now()",
		"{{ 'open }}":                            "missing",
		"{% if x %}":                             "endif",
		"{% for a in b %}":                       "endfor",
		"{% endif %}":                            "without its beginning",
		"{{ a b }}":                              "not understood",
		"{{ }}":                                  "a value expected",
		"{{ " + strings.Repeat("(", 300) + " }}": "too deeply",
	} {
		if _, err := parseTemplate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
}

// A template comes with a file from somewhere: it must not be able to eat the machine.
func TestTemplateIsBounded(t *testing.T) {
	loops := strings.Repeat("{% for a in l %}", 12) + "x" + strings.Repeat("{% endfor %}", 12)
	double := "{% set x = 'aaaaaaaa' %}" + strings.Repeat("{% set x = x ~ x %}", 60) + "{{ x }}"
	list := make([]any, 30)
	for _, text := range []string{loops, double} {
		tpl, err := parseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tpl.render(map[string]any{"l": list}); err == nil {
			t.Errorf("%.30s: no error", text)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{llama2, llama3, zephyr, space, chatML, "{{ l[1:2] ~ m.k | trim }}", "{{ 1 // 0 }}", "{%-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tpl, err := parseTemplate(text)
		if err != nil {
			return
		}
		vars := conversation("user", "U", "assistant", "A")
		vars["l"], vars["m"] = []any{"a", float64(1)}, map[string]any{"k": "v"}
		_, _ = tpl.render(vars) // it must return
	})
}
