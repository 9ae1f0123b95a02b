package engine

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Values of a template are nil, bool, float64 (all numbers), string, []any, map[string]any and undefined.

func truthy(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

func asText(v any) string {
	switch v := v.(type) {
	case undefined:
		return ""
	case nil:
		return "None"
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

func joinText(list []any) string {
	var b strings.Builder
	for _, v := range list {
		b.WriteString(asText(v))
	}
	return b.String()
}

func kindOf(v any) string {
	switch v.(type) {
	case undefined:
		return "an undefined value"
	case nil:
		return "none"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	}
	return "a mapping"
}

func operate(op string, a, b any) (any, error) {
	switch op {
	case "==":
		return reflect.DeepEqual(a, b), nil
	case "!=":
		return !reflect.DeepEqual(a, b), nil
	case "~":
		return asText(a) + asText(b), nil
	case "in", "not in":
		found, err := contains(b, a)
		return found == (op == "in"), err
	}
	if x, ok := a.(float64); ok {
		if y, ok := b.(float64); ok {
			return arithmetic(op, x, y)
		}
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			switch op {
			case "+":
				return x + y, nil
			case "<":
				return x < y, nil
			case ">":
				return x > y, nil
			}
		}
	}
	if x, ok := a.([]any); ok && op == "+" {
		if y, ok := b.([]any); ok {
			return append(x[:len(x):len(x)], y...), nil
		}
	}
	return nil, fmt.Errorf("%s %s %s is not possible", kindOf(a), op, kindOf(b))
}

func arithmetic(op string, x, y float64) (any, error) {
	switch op {
	case "+":
		return x + y, nil
	case "-":
		return x - y, nil
	case "*":
		return x * y, nil
	case "<":
		return x < y, nil
	case ">":
		return x > y, nil
	case "<=":
		return x <= y, nil
	case ">=":
		return x >= y, nil
	}
	if y == 0 {
		return nil, fmt.Errorf("%g %s 0", x, op)
	}
	switch op {
	case "/":
		return x / y, nil
	case "//":
		return math.Floor(x / y), nil
	}
	return x - y*math.Floor(x/y), nil // "%": the sign of the divisor, as in Python
}

func contains(in, v any) (bool, error) {
	switch in := in.(type) {
	case string:
		s, ok := v.(string)
		return ok && strings.Contains(in, s), nil
	case []any:
		for _, x := range in {
			if reflect.DeepEqual(x, v) {
				return true, nil
			}
		}
		return false, nil
	case map[string]any:
		_, ok := in[asText(v)]
		return ok, nil
	case undefined:
		return false, nil
	}
	return false, fmt.Errorf("can't look into %s", kindOf(in))
}

func attribute(v any, name string) (any, error) {
	switch m := v.(type) {
	case map[string]any:
		if x, ok := m[name]; ok {
			return x, nil
		}
		return undefined{}, nil
	case undefined, nil:
		return nil, fmt.Errorf("%s has no %q", kindOf(v), name)
	}
	return undefined{}, nil
}

func index(v, key any) (any, error) {
	list, isList := v.([]any)
	n, isNumber := key.(float64)
	if isList && isNumber {
		i := place(n, len(list))
		if i < 0 || i >= len(list) {
			return undefined{}, nil
		}
		return list[i], nil
	}
	if name, ok := key.(string); ok {
		return attribute(v, name)
	}
	return nil, fmt.Errorf("can't take an element of %s by %s", kindOf(v), kindOf(key))
}

// place turns a possibly negative position into one counted from the start, which may still lie outside.
func place(n float64, length int) int {
	n = max(min(n, float64(length)), -float64(length)-1)
	if n < 0 {
		n += float64(length)
	}
	return int(n)
}

func slice(v any, bounds []any) (any, error) {
	length := 0
	switch v := v.(type) {
	case []any:
		length = len(v)
	case string:
		length = len([]rune(v))
	default:
		return nil, fmt.Errorf("can't slice %s", kindOf(v))
	}
	from, to := 0, length
	if n, ok := bounds[0].(float64); ok {
		from = max(place(n, length), 0)
	}
	if n, ok := bounds[1].(float64); ok {
		to = max(place(n, length), 0)
	}
	to = max(from, to)
	if list, ok := v.([]any); ok {
		return list[from:to], nil
	}
	return string([]rune(v.(string))[from:to]), nil
}

var tests = map[string]func(any) bool{
	"defined":   func(v any) bool { _, no := v.(undefined); return !no },
	"undefined": func(v any) bool { _, no := v.(undefined); return no },
	"none":      func(v any) bool { return v == nil },
	"string":    func(v any) bool { _, ok := v.(string); return ok },
	"number":    func(v any) bool { _, ok := v.(float64); return ok },
	"boolean":   func(v any) bool { _, ok := v.(bool); return ok },
	"mapping":   func(v any) bool { _, ok := v.(map[string]any); return ok },
	"sequence":  func(v any) bool { _, ok := v.([]any); return ok },
	"iterable":  func(v any) bool { k := kindOf(v); return k == "a list" || k == "a string" || k == "a mapping" },
	"true":      func(v any) bool { return v == true },
	"false":     func(v any) bool { return v == false },
}

type operation = func(v any, args []any) (any, error)

// onText makes an operation of a function on strings; anything else is refused.
func onText(f func(s string, args []string) any) operation {
	return func(v any, args []any) (any, error) {
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("a string is needed, not %s", kindOf(v))
		}
		texts := make([]string, 2) // what is not given is empty
		for i, a := range args[:min(len(args), 2)] {
			texts[i] = asText(a)
		}
		return f(s, texts), nil
	}
}

const blanks = " \t\r\n\v\f"

func cutset(args []string) string {
	if args[0] == "" {
		return blanks
	}
	return args[0]
}

var methods = map[string]operation{
	"strip":      onText(func(s string, a []string) any { return strings.Trim(s, cutset(a)) }),
	"lstrip":     onText(func(s string, a []string) any { return strings.TrimLeft(s, cutset(a)) }),
	"rstrip":     onText(func(s string, a []string) any { return strings.TrimRight(s, cutset(a)) }),
	"upper":      onText(func(s string, _ []string) any { return strings.ToUpper(s) }),
	"lower":      onText(func(s string, _ []string) any { return strings.ToLower(s) }),
	"startswith": onText(func(s string, a []string) any { return strings.HasPrefix(s, a[0]) }),
	"endswith":   onText(func(s string, a []string) any { return strings.HasSuffix(s, a[0]) }),
	"split":      onText(split),
	"get": func(v any, args []any) (any, error) {
		if m, ok := v.(map[string]any); ok && len(args) > 0 {
			if x, ok := m[asText(args[0])]; ok {
				return x, nil
			}
			if len(args) > 1 {
				return args[1], nil
			}
			return nil, nil
		}
		return nil, fmt.Errorf("%s has no get()", kindOf(v))
	},
}

func split(s string, a []string) any {
	parts := strings.Fields(s)
	if a[0] != "" {
		parts = strings.Split(s, a[0])
	}
	out := make([]any, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out
}

var filters = map[string]operation{
	"trim":   methods["strip"],
	"upper":  methods["upper"],
	"lower":  methods["lower"],
	"string": func(v any, _ []any) (any, error) { return asText(v), nil },
	"safe":   func(v any, _ []any) (any, error) { return v, nil },
	"list":   func(v any, _ []any) (any, error) { return v, nil },
	"tojson": func(v any, _ []any) (any, error) {
		b, err := json.Marshal(v)
		return string(b), err
	},
	"length": length,
	"count":  length,
	"first":  func(v any, _ []any) (any, error) { return index(v, float64(0)) },
	"last":   func(v any, _ []any) (any, error) { return index(v, float64(-1)) },
	"default": func(v any, args []any) (any, error) {
		if _, no := v.(undefined); no && len(args) > 0 {
			return args[0], nil
		}
		return v, nil
	},
	"join": func(v any, args []any) (any, error) {
		list, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("can't join %s", kindOf(v))
		}
		parts, between := make([]string, len(list)), joinText(args)
		size := len(between) * len(list)
		for i, x := range list {
			parts[i] = asText(x)
			size += len(parts[i])
		}
		if size > maxTemplateOutput {
			return nil, fmt.Errorf("join would make %d bytes", size)
		}
		return strings.Join(parts, between), nil
	},
}

func length(v any, _ []any) (any, error) {
	switch v := v.(type) {
	case string:
		return float64(len([]rune(v))), nil
	case []any:
		return float64(len(v)), nil
	case map[string]any:
		return float64(len(v)), nil
	}
	return nil, fmt.Errorf("%s has no length", kindOf(v))
}
