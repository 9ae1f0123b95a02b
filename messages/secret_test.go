package messages

import (
	"slices"
	"testing"
)

func TestSecretsInTexts(t *testing.T) {
	for text, want := range map[string]string{
		"engine --api-key canary --port 80":                        "engine --api-key * --port 80",
		"engine --hf-token=canary -pw canary":                      "engine --hf-token=* -pw *",
		"docker run -e HF_TOKEN=canary -e DB_PASS=canary":          "docker run -e HF_TOKEN=* -e DB_PASS=*",
		"curl -H x-api-key:canary -H 'X-Auth-Token: canary'":       "curl -H x-api-key:* -H 'X-Auth-Token: *'",
		"-H 'Authorization: Bearer canary'":                        "-H 'Authorization: Bearer *'",
		"-H 'Authorization: Basic canary'":                         "-H 'Authorization: Basic *'",
		`--json {"api_key":"canary"}`:                              `--json {"api_key":*}`,
		"https://me:canary@host/v1?token=canary":                   "https://*@host/v1?token=*",
		"http://host/?api_key=${K}&auth=canary":                    "http://host/?api_key=*&auth=*",
		"failed with sk-canarycanary, hf_canarycanarycanarycanary": "failed with *, *",
		"--max-tokens 4096 --tokenizer org/x --ctx 8":              "--max-tokens 4096 --tokenizer org/x --ctx 8",
		"missing key: general.name, EOS token = 2":                 "missing key: general.name, EOS token = 2",
	} {
		if got := ReplaceSecrets(text, func(string) string { return "*" }); got != want {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
	}
}

func TestSecretNames(t *testing.T) {
	for _, name := range []string{"API_KEY", "HF_TOKEN", "HF_TOK", "DB_PASS", "MYPW", "DOCKER_AUTH_CONFIG", "NODE_AUTH", "GPG_PASSPHRASE", "CONTAINER_PWD", "password", "AWS_SECRET_ACCESS_KEY"} {
		if !SecretName(name) {
			t.Errorf("%s holds no secret", name)
		}
	}
	for _, name := range []string{"PATH", "PWD", "OLDPWD", "TOKENIZERS_PARALLELISM", "MAX_TOKENS", "XAUTHORITY", "COMPAT", "BYPASS", "CUDA_VISIBLE_DEVICES"} {
		if SecretName(name) {
			t.Errorf("%s holds a secret", name)
		}
	}
}

func TestSealer(t *testing.T) {
	var s Sealer
	got := s.List([]string{"--api-key", "one", "DB_PW=two", "--token=${VAR}", "--key", "true", "AGAIN_KEY=one", "--password=three words"})
	if want := []string{"--api-key", "${secret.1}", "DB_PW=${secret.2}", "--token=${VAR}", "--key", "true", "AGAIN_KEY=${secret.1}", "--password=${secret.3}"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if !slices.Equal(s.Secrets, []string{"one", "two", "three words"}) {
		t.Errorf("%q", s.Secrets)
	}
}

func TestForLog(t *testing.T) {
	e := NewError(InferenceError, "model/m", "the worker answered 500: canary").WithSaid("canary")
	if e.ForLog() != "the worker answered 500: [the engine's words]" || e.Error() != "model/m: the worker answered 500: canary" {
		t.Error(e.ForLog(), e)
	}
}
