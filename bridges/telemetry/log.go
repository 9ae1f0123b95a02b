package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const hidden = "[redacted]"

var (
	secretKey = regexp.MustCompile(`(?i)key|token|secret|authorization|passw|credential|cookie`)
	// spoken names prompts and answers.
	spoken = map[string]bool{"prompt": true, "content": true, "messages": true, "response_text": true, "completion": true}
)

// NewLogger makes the log. Level is debug, info, warn or error; format is text or json; empty means info and text. It hides
// values whose names stand for secrets, prompts or answers, and secrets inside texts. Of structures only the type is logged,
// because their content is not known: log what you mean, field by field.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if level != "" {
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, messages.Errorf(messages.InvalidArgument, "log level", "%q is no level", level).WithHint("write debug, info, warn or error")
		}
	}
	options := &slog.HandlerOptions{Level: l, ReplaceAttr: redact}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, messages.Errorf(messages.InvalidArgument, "log format", "%q is no format", format).WithHint("write text or json")
}

// redact looks at every attribute on its way out. Numbers and times are no secrets: "tokens=42" stays.
func redact(groups []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		if isSecret(groups, a.Key) {
			return slog.String(a.Key, hidden)
		}
		return slog.String(a.Key, clean(a.Value.String()))
	case slog.KindAny:
		if isSecret(groups, a.Key) {
			return slog.String(a.Key, hidden)
		}
		return slog.Attr{Key: a.Key, Value: redactAny(a.Value.Any())}
	}
	return a
}

func isSecret(groups []string, key string) bool {
	if secretKey.MatchString(key) || spoken[strings.ToLower(key)] {
		return true
	}
	for _, g := range groups {
		if secretKey.MatchString(g) {
			return true
		}
	}
	return false
}

func redactAny(v any) slog.Value {
	switch v := v.(type) {
	case nil, slog.Level, *slog.Source:
		return slog.AnyValue(v)
	case error:
		return slog.StringValue(clean(unsaid(v)))
	case proto.Message:
		return slog.StringValue(string(v.ProtoReflect().Descriptor().FullName()))
	case []string:
		out := make([]string, len(v))
		for i, s := range v {
			out[i] = clean(s)
		}
		return slog.StringValue(strings.Join(out, " "))
	case fmt.Stringer:
		return slog.StringValue(clean(v.String()))
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.String:
		return slog.StringValue(clean(r.String()))
	case reflect.Struct, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Array, reflect.Func, reflect.Chan:
		return slog.StringValue(r.Type().String())
	}
	return slog.AnyValue(v)
}

// unsaid is an error without what an engine said: it may repeat a prompt.
func unsaid(err error) string {
	var e *messages.Error
	if errors.As(err, &e) && e.Said != "" {
		return strings.ReplaceAll(err.Error(), e.Said, hidden)
	}
	return err.Error()
}

// clean takes secrets out of a text. Most texts have none, and cost only the search.
func clean(s string) string {
	return messages.ReplaceSecrets(s, func(string) string { return hidden })
}
