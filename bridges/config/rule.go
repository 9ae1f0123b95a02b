package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"modelops/messages"
)

// A rule is what a value may be. It stands in the tags of the field, where the JSON schema reads it too.
type rule struct {
	min, max *int64
	enum     []string
	pattern  string
	form     string // the pattern in words, where it isn't that of plain names
	required bool
	nonEmpty bool
	single   bool // one text may stand for a list of one
	maxLen   int
	least    time.Duration // of durations
	most     time.Duration
}

func ruleOf(tag reflect.StructTag) rule {
	r := rule{enum: wordsOf(tag.Get("words")), form: tag.Get("form"), single: tag.Get("single") != ""}
	const comma = "\x00"
	for part := range strings.SplitSeq(strings.ReplaceAll(tag.Get("jsonschema"), `\,`, comma), ",") {
		key, val, _ := strings.Cut(strings.ReplaceAll(part, comma, ","), "=")
		n, _ := strconv.ParseInt(val, 10, 64)
		switch key {
		case "minimum":
			r.min = &n
		case "maximum":
			r.max = &n
		case "enum":
			r.enum = append(r.enum, val)
		case "pattern":
			r.pattern = val
		case "required":
			r.required = true
		case "minLength":
			r.nonEmpty = n > 0
		case "maxLength":
			r.maxLen = int(n)
		}
	}
	r.least, _ = time.ParseDuration(tag.Get("min"))
	r.most, _ = time.ParseDuration(tag.Get("max"))
	return r
}

// fieldsOf lists the configured fields of a struct.
func fieldsOf(t reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Tag.Get("yaml") == "" })
}

// fieldNamed finds a field by its key or by the other spelling of it.
func fieldNamed(t reflect.Type, key string) (reflect.StructField, bool) {
	for _, f := range fieldsOf(t) {
		if f.Tag.Get("yaml") == key || key != "" && f.Tag.Get("alias") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, f := range fieldsOf(t) {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}

var durationType = reflect.TypeFor[time.Duration]()

// expectation says in words what a value of this type may be.
func expectation(t reflect.Type, r rule) string {
	switch {
	case t == durationType:
		return fmt.Sprintf("a duration from %s to %s (5s, 300ms, 1h30m; a number is seconds)", short(r.least), short(r.most))
	case t.Kind() == reflect.Int:
		return "a whole number" + r.span()
	case t.Kind() == reflect.Float64:
		return "a number" + r.span()
	case t.Kind() == reflect.Bool:
		return "true or false"
	case len(r.enum) == 1:
		return r.enum[0]
	case len(r.enum) > 0:
		return "one of " + strings.Join(slices.DeleteFunc(slices.Clone(r.enum), func(s string) bool { return s == "" }), ", ")
	case r.form != "":
		return r.form
	case r.pattern != "":
		return messages.GoodPlainName
	case t.Kind() == reflect.String && r.nonEmpty:
		return "some text"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String && r.single:
		return "a text or a list of texts"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return "a list of texts"
	case t.Kind() == reflect.Slice:
		return "a list of entries with " + strings.Join(keysOf(t.Elem()), ", ")
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.String:
		return "names with texts"
	case t.Kind() == reflect.Map:
		return "names, each with " + strings.Join(keysOf(t.Elem()), ", ")
	}
	return "a section with " + strings.Join(keysOf(t), ", ")
}

func (r rule) span() string {
	switch {
	case r.min != nil && r.max != nil:
		return fmt.Sprintf(" from %d to %d", *r.min, *r.max)
	case r.min != nil:
		return fmt.Sprintf(", at least %d", *r.min)
	}
	return ""
}

// short writes a duration without its zero parts: 5m, not 5m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
