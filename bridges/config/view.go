package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"modelops/messages"
)

// View shows the effective configuration as YAML. Secrets are hidden; without secrets it is a configuration of the same revision.
func (c *Config) View() (*messages.ConfigView, error) {
	text, err := yaml.Marshal((&explainer{c: c}).document(reflect.ValueOf(c.shown()), ""))
	return &messages.ConfigView{Revision: c.Revision(), Yaml: string(text)}, err
}

// document is a value of the configuration as the YAML library writes it, with secrets hidden.
func (e *explainer) document(v reflect.Value, path string) any {
	switch val := v.Interface().(type) {
	case time.Duration:
		return short(val)
	case []string:
		return redactedList(val, e.c.secrets)
	case string:
		return redacted(val, e.c.secrets)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return e.document(v.Elem(), path)
	case reflect.Struct:
		return e.fields(v, path)
	case reflect.Map:
		out := yaml.MapSlice{}
		for _, k := range slices.SortedFunc(maps.Keys(keysIn(v)), strings.Compare) {
			value := any(hidden)
			if item := v.MapIndex(reflect.ValueOf(k)); item.Kind() != reflect.String || !messages.SecretName(k) {
				value = e.document(item, join(path, k))
			}
			out = append(out, yaml.MapItem{Key: k, Value: value})
		}
		return out
	case reflect.Slice:
		out := []any{}
		for i := range v.Len() {
			out = append(out, e.document(v.Index(i), index(path, i)))
		}
		return out
	}
	return v.Interface()
}

// fields leaves out what Explain leaves out: in repeated parts such as models, empty values that aren't set.
func (e *explainer) fields(v reflect.Value, path string) yaml.MapSlice {
	out := yaml.MapSlice{}
	_, many := reflect.New(v.Type()).Interface().(defaulter)
	for _, f := range fieldsOf(v.Type()) {
		key := f.Tag.Get("yaml")
		at := join(path, key)
		fv := v.FieldByIndex(f.Index)
		if _, written := e.c.origins[at]; many && !written && fv.IsZero() {
			continue
		}
		value := any(hidden)
		if f.Tag.Get("secret") == "" {
			value = e.document(fv, at)
		}
		if value != nil {
			out = append(out, yaml.MapItem{Key: key, Value: value})
		}
	}
	return out
}
