package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// difference is a place where two JSON values differ. A missing value is written as absent.
type difference struct {
	Path    string `json:"path"`
	Journal string `json:"journal"`
	Live    string `json:"live"`
}

func (d difference) String() string {
	return fmt.Sprintf("%s: %s in the journal, %s in the daemon", d.Path, d.Journal, d.Live)
}

// diffJSON compares a state from the journal with the live one. The differences are in the order of their paths.
func diffJSON(journal, live []byte) ([]difference, error) {
	a, err := parseExact(journal)
	if err != nil {
		return nil, fmt.Errorf("the journal's state is not JSON: %w", err)
	}
	b, err := parseExact(live)
	if err != nil {
		return nil, fmt.Errorf("the daemon's state is not JSON: %w", err)
	}
	var d differ
	d.compare("", a, b)
	return d.found, nil
}

// parseExact keeps numbers as they are written: a float can't hold every number of bytes.
func parseExact(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

type differ struct{ found []difference }

// absent marks a value that is missing on one side; null is a value.
type absent struct{}

func (d *differ) compare(path string, a, b any) {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			d.objects(path, x, y)
			return
		}
	case []any:
		if y, ok := b.([]any); ok {
			d.lists(path, x, y)
			return
		}
	default:
		if _, deep := b.(map[string]any); deep {
			break
		}
		if _, deep := b.([]any); !deep && a == b {
			return
		}
	}
	if path == "" {
		path = "."
	}
	d.found = append(d.found, difference{path, written(a), written(b)})
}

func (d *differ) objects(path string, a, b map[string]any) {
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		d.compare(path+"."+k, valueOr(a, k), valueOr(b, k))
	}
}

func valueOr(m map[string]any, k string) any {
	if v, ok := m[k]; ok {
		return v
	}
	return absent{}
}

func (d *differ) lists(path string, a, b []any) {
	for i := range max(len(a), len(b)) {
		d.compare(path+"["+strconv.Itoa(i)+"]", itemOr(a, i), itemOr(b, i))
	}
}

func itemOr(l []any, i int) any {
	if i < len(l) {
		return l[i]
	}
	return absent{}
}

func written(v any) string {
	if v == (absent{}) {
		return "absent"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
