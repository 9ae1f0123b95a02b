package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// leaf sets a text, number, bool or duration.
func (d *decoder) leaf(n *node, v reflect.Value, path string, r rule) {
	if n.kind != scalar {
		d.add(n, path, "is "+n.kind.String(), expectation(v.Type(), r))
		return
	}
	raw := n
	n, ok := d.substituted(n, path)
	if !ok && v.Kind() == reflect.String {
		v.SetString(raw.text) // it was given, so nothing else may complain that it is missing
	}
	if !ok || n.isNull() && v.Kind() != reflect.String {
		return
	}
	d.origins[path] = n.at
	var what string
	switch {
	case v.Kind() == reflect.String:
		what = r.text(n.text)
		v.SetString(n.text)
	case n.quoted:
		what = "is " + n.found()
	case v.Type() == durationType:
		what = setDuration(v, n.text, r)
	case v.Kind() == reflect.Bool:
		what = setBool(v, n)
	case v.Kind() == reflect.Float64:
		what = setFloat(v, n.text, r)
	default:
		what = setInt(v, n.text, r)
	}
	if what != "" {
		d.add(n, path, what, expectation(v.Type(), r))
	}
}

func setInt(v reflect.Value, text string, r rule) string {
	digits := strings.TrimLeft(text, "+-")
	i, err := strconv.ParseInt(text, 0, 64)
	switch {
	case err != nil && strings.Contains(err.Error(), "out of range"):
		return clip(text) + " is out of range"
	case err != nil, len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9':
		return "is " + strconv.Quote(clip(text))
	case r.min != nil && i < *r.min || r.max != nil && i > *r.max || i > math.MaxInt32 || i < math.MinInt32:
		return clip(text) + " is out of range"
	}
	v.SetInt(i)
	return ""
}

func setFloat(v reflect.Value, text string, r rule) string {
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return "is " + strconv.Quote(clip(text))
	case math.IsNaN(f), math.IsInf(f, 0), r.min != nil && f < float64(*r.min), r.max != nil && f > float64(*r.max):
		return clip(text) + " is out of range"
	}
	v.SetFloat(f)
	return ""
}

func setBool(v reflect.Value, n *node) string {
	yes, no := []string{"true"}, []string{"false"}
	if n.literal { // people write variables so
		yes, no = append(yes, "1", "yes", "on"), append(no, "0", "no", "off")
	}
	switch text := strings.ToLower(n.text); {
	case slices.Contains(yes, text):
		v.SetBool(true)
	case slices.Contains(no, text):
		v.SetBool(false)
	default:
		return "is " + n.found()
	}
	return ""
}

func setDuration(v reflect.Value, text string, r rule) string {
	dur, err := time.ParseDuration(text)
	if seconds, ferr := strconv.ParseFloat(text, 64); ferr == nil {
		if math.IsNaN(seconds) || math.Abs(seconds) > 1e9 {
			return clip(text) + " is out of range"
		}
		dur, err = time.Duration(math.Round(seconds*1e9)), nil
	}
	if err != nil {
		return "is " + strconv.Quote(clip(text))
	}
	if dur < r.least || dur > r.most {
		return clip(text) + " is out of range"
	}
	v.SetInt(int64(dur))
	return ""
}

// text checks a text and says what is wrong with it.
func (r rule) text(s string) string {
	switch {
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return "is no valid UTF-8 text"
	case len(r.enum) > 0 && !slices.Contains(r.enum, s):
		return "is " + strconv.Quote(clip(s))
	case r.nonEmpty && strings.TrimSpace(s) == "":
		return "is empty"
	case r.maxLen > 0 && len(s) > r.maxLen:
		return fmt.Sprintf("has %d characters", len(s))
	case r.pattern != "" && !regexp.MustCompile(r.pattern).MatchString(s):
		return "is " + strconv.Quote(clip(s))
	}
	return ""
}
