package config

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"modelops/messages"
)

// A Setting is one effective value and where it comes from: "default", file:line:col, a variable or --host.
type Setting struct {
	Path, Value, Source string
}

// Explain lists every effective value in the order of the sections. Secrets are hidden. Of a model it leaves out
// empty values that aren't set.
func (c *Config) Explain() []Setting {
	e := explainer{c: c}
	e.section(reflect.ValueOf(c.shown()), "")
	return e.settings
}

// Print writes Explain's list for people.
func (c *Config) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range c.Explain() {
		if _, err := fmt.Fprintf(tw, "%s\t%s\t# %s\n", s.Path, s.Value, s.Source); err != nil {
			return err
		}
	}
	return tw.Flush()
}

type explainer struct {
	c        *Config
	settings []Setting
}

func (e *explainer) section(v reflect.Value, path string) {
	_, many := reflect.New(v.Type()).Interface().(defaulter)
	for _, f := range fieldsOf(v.Type()) {
		at := join(path, f.Tag.Get("yaml"))
		fv := v.FieldByIndex(f.Index)
		if _, written := e.c.origins[at]; many && !written && fv.IsZero() {
			continue
		}
		if f.Tag.Get("secret") != "" {
			e.put(at, hidden)
			continue
		}
		e.value(fv, at)
	}
}

func (e *explainer) value(v reflect.Value, path string) {
	switch {
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			e.value(v.Elem(), path)
		}
	case v.Kind() == reflect.Struct:
		e.section(v, path)
	case v.Kind() == reflect.Map && v.Len() > 0:
		for _, k := range slices.SortedFunc(maps.Keys(keysIn(v)), strings.Compare) {
			e.entry(v.MapIndex(reflect.ValueOf(k)), join(path, k), k)
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && v.Len() > 0:
		for i := range v.Len() {
			e.value(v.Index(i), index(path, i))
		}
	default:
		e.put(path, e.shown(v))
	}
}

func (e *explainer) entry(v reflect.Value, path, name string) {
	if v.Kind() == reflect.String && messages.SecretName(name) {
		e.put(path, hidden)
		return
	}
	e.value(v, path)
}

func keysIn(m reflect.Value) map[string]bool {
	keys := map[string]bool{}
	for _, k := range m.MapKeys() {
		keys[k.String()] = true
	}
	return keys
}

func (e *explainer) put(path, value string) {
	e.settings = append(e.settings, Setting{Path: path, Value: value, Source: e.source(path)})
}

// source is where the value was written, or the value around it that a variable set as a whole.
func (e *explainer) source(path string) string {
	if o, ok := e.c.origins[path]; ok {
		return o.String()
	}
	return "default"
}

func (e *explainer) shown(v reflect.Value) string {
	switch val := v.Interface().(type) {
	case time.Duration:
		return short(val)
	case []string:
		return "[" + strings.Join(quoted(redactedList(val, e.c.secrets)), ", ") + "]"
	case string:
		return quote(redacted(val, e.c.secrets))
	}
	switch v.Kind() {
	case reflect.Slice:
		return "[]"
	case reflect.Map:
		return "{}"
	}
	return fmt.Sprint(v.Interface())
}

func quoted(items []string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = quote(item)
	}
	return out
}

// quote leaves plain words as they are.
func quote(s string) string {
	if cmp.Or(s, " ") == " " || strings.ContainsAny(s, "\n\t\"#,[]{}") {
		return strconv.Quote(s)
	}
	return s
}
