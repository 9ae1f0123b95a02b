package config

import (
	"fmt"
	"reflect"
	"strings"

	"modelops/messages"
)

// gone are keys of the old coordinator that have another name now.
var gone = map[string]string{
	"vram.budget_pct": "resources.eviction_threshold_pct, in percent",
	"vram.dry_run":    "nothing: decisions are explained in the journal instead",
	"vram":            "resources.vram_soft_limit_mb and resources.eviction_threshold_pct",
}

// unknownKey reports a key and says what its writer may have meant.
func (d *decoder) unknownKey(f field, in *node, t reflect.Type, path string) {
	d.problems = append(d.problems, f.at.problem(f.written(in), "unknown key", wanted(f.name, t, path)))
}

// wanted is the key that was meant: the nearest one here, the same one elsewhere, or all that are possible.
func wanted(key string, t reflect.Type, path string) string {
	if now, ok := gone[join(path, key)]; ok {
		return now
	}
	if near := messages.Nearest(key, keysOf(t)); near != "" {
		return fmt.Sprintf("%s (did you mean it?)", near)
	}
	if t == reflect.TypeFor[Models]() {
		return fmt.Sprintf("one of %s; a model is declared as models.declare.%s", strings.Join(keysOf(t), ", "), key)
	}
	if there := elsewhere(key, reflect.TypeFor[Config](), ""); there != "" {
		return fmt.Sprintf("it at %s", there)
	}
	return "one of " + strings.Join(keysOf(t), ", ")
}

// elsewhere finds a key of the same name in another section.
func elsewhere(key string, t reflect.Type, path string) string {
	for _, f := range fieldsOf(t) {
		at := join(path, f.Tag.Get("yaml"))
		if f.Tag.Get("yaml") == key {
			return at
		}
		if f.Type.Kind() == reflect.Struct {
			if there := elsewhere(key, f.Type, at); there != "" {
				return there
			}
		}
	}
	return ""
}

// plain drops case and punctuation: gpuPollInterval is gpu_poll_interval.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == '.' {
			return -1
		}
		return r
	}, strings.ToLower(s))
}
