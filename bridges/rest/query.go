package rest

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// queryOf is the context's key of a request's query.
type queryOf struct{}

// query is what stood behind the question mark.
type query struct {
	fields url.Values
	inBody bool // the operation's fields come in the body
}

// unknown refuses a field that the operation doesn't have: the routes would leave it out, and the answer would be for another question.
func (q query) unknown(request proto.Message) error {
	fields := request.ProtoReflect().Descriptor().Fields()
	for _, name := range slices.Sorted(maps.Keys(q.fields)) {
		top, _, _ := strings.Cut(name, ".")
		top, _, _ = strings.Cut(top, "[")
		if top == hostField {
			continue // every operation can be asked of a host
		}
		known := fields.ByTextName(top) != nil || fields.ByJSONName(top) != nil
		switch {
		case known && !q.inBody:
		case known:
			return messages.Errorf(messages.InvalidArgument, "query", "%.100q belongs into the body", name).WithHint("send it as JSON")
		default:
			e := messages.Misread("query", request, fmt.Sprintf("unknown field %.100q", name))
			if near := nearest(top, messages.FieldNames(request)); near != "" {
				e = e.WithHint(fmt.Sprintf("did you mean %q? %s", near, e.Hint))
			}
			return e
		}
	}
	return nil
}

// nearest is the word that was most likely meant; empty when none is near.
func nearest(word string, words []string) (best string) {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	least := max(1, len(word)/3) + 1
	for _, candidate := range words {
		d := distance(plain(word), plain(candidate))
		if strings.HasPrefix(plain(candidate), plain(word)) && len(word) > 1 {
			d = min(d, 1)
		}
		if d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
