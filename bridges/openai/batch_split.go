package openai

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// item is one item of an answer: the input it belongs to, and where its bytes say so.
type item struct {
	raw   []byte
	index int
	at    span
	score float64 // of a rerank
}

// splitAnswer divides an answer to several members into one for each, in their order. Everything but indexes, ids and counts
// stays byte for byte; an embedding is never decoded. It fails when the answer isn't one item for each input.
func splitAnswer(members []*member, answer []byte) ([][]byte, error) {
	parts, ok := partsOf(answer)
	s := members[0].shape
	if !ok || partOf(parts, s.list) == nil {
		return nil, fmt.Errorf("the answer has no list named %q", s.list)
	}
	total := 0
	for _, m := range members {
		total += len(m.items)
	}
	items, err := itemsOf(partOf(parts, s.list), total)
	if err != nil {
		return nil, err
	}
	own := ownItems(members, items)
	usages := splitUsage(members, own, partOf(parts, "usage"))
	out := make([][]byte, len(members))
	for i, m := range members {
		if m.top > 0 {
			slices.SortStableFunc(own[i], func(a, b item) int { return cmp.Compare(b.score, a.score) })
			own[i] = own[i][:min(m.top, len(own[i]))]
		}
		out[i] = rebuild(parts, s, own[i], usages[i], i)
	}
	return out, nil
}

// itemsOf reads the list; each index from 0 to total must be there once.
func itemsOf(list []byte, total int) ([]item, error) {
	elements, ok := elementsOf(list)
	if !ok || len(elements) != total {
		return nil, fmt.Errorf("the answer has %d items for %d inputs", len(elements), total)
	}
	seen := make([]bool, total)
	items := make([]item, 0, total)
	for _, raw := range elements {
		parts, ok := partsOf(raw)
		if !ok {
			return nil, errors.New("an item of the answer is no object")
		}
		it := item{raw: raw, index: -1}
		for _, p := range parts {
			switch p.name {
			case "index":
				if n, err := strconv.Atoi(string(p.value)); err == nil {
					it.index, it.at = n, p.at
				}
			case "relevance_score", "score":
				it.score, _ = strconv.ParseFloat(string(p.value), 64) // what is no number sorts as 0
			}
		}
		if it.index < 0 || it.index >= total || seen[it.index] {
			return nil, errors.New("the items' indexes aren't one for each input")
		}
		seen[it.index] = true
		items = append(items, it)
	}
	return items, nil
}

// ownItems gives each member its items, in the answer's order, with indexes into its own inputs.
func ownItems(members []*member, items []item) [][]item {
	var owner []int // of each input
	var first []int // input of each member
	for i, m := range members {
		first = append(first, len(owner))
		owner = append(owner, slices.Repeat([]int{i}, len(m.items))...)
	}
	own := make([][]item, len(members))
	for _, it := range items {
		i := owner[it.index]
		it.index -= first[i]
		own[i] = append(own[i], it)
	}
	return own
}

// notShared are parts that describe the whole upstream request and would be wrong for a member's.
var notShared = []string{"timings"}

// rebuild writes a member's answer in the order of the engine's.
func rebuild(parts []part, s *shape, own []item, usage []byte, nth int) []byte {
	var b bytes.Buffer
	between := byte('{')
	for _, p := range parts {
		if slices.Contains(notShared, p.name) {
			continue
		}
		b.WriteByte(between)
		between = ','
		fmt.Fprintf(&b, "%q:", p.name)
		switch {
		case p.name == s.list:
			writeItems(&b, own)
		case p.name == "usage":
			b.Write(usage)
		case p.name == "id" && len(p.value) > 1 && p.value[0] == '"':
			// Each answer needs an id of its own.
			fmt.Fprintf(&b, "%s-%d\"", p.value[:len(p.value)-1], nth)
		default:
			b.Write(p.value)
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}

func writeItems(b *bytes.Buffer, own []item) {
	b.WriteByte('[')
	for i, it := range own {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(it.raw[:it.at.from])
		b.WriteString(strconv.Itoa(it.index))
		b.Write(it.raw[it.at.to:])
	}
	b.WriteByte(']')
}
