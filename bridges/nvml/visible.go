package nvml

import (
	"strconv"
	"strings"
)

// visible is what CUDA_VISIBLE_DEVICES names, read as the CUDA runtime reads it: indices, UUIDs or their beginnings, UUIDs of MIG
// instances. The first word that names nothing ends the list, so -1 hides all that follow it. nil shows all devices.
type visible []string

// visibleOf reads the variable; set is false where it isn't there.
func visibleOf(text *string) (v visible, set bool) {
	if text == nil {
		return nil, false
	}
	v = visible{}
	for word := range strings.SplitSeq(*text, ",") {
		word = strings.TrimSpace(word)
		if n, err := strconv.Atoi(word); word == "" || word == "NoDevFiles" || err == nil && n < 0 {
			break
		}
		v = append(v, word)
	}
	return v, true
}

// candidate is a device that the driver shows, before CUDA_VISIBLE_DEVICES is asked about it.
type candidate struct {
	index int // of the card
	uuid  string
	card  string // UUID of the card that a MIG instance is a part of; the card's own else
}

// is tells whether a word names a device. An index or a card's UUID names all MIG instances of the card.
func (c candidate) is(word string) bool {
	if n, err := strconv.Atoi(word); err == nil {
		return n == c.index
	}
	if c.uuid == "" { // a card that can't be opened
		return false
	}
	// MIG-GPU-UUID/GI/CI is how drivers before 470 named an instance.
	word, _, _ = strings.Cut(strings.TrimPrefix(word, "MIG-GPU-"), "/")
	return begins(c.uuid, word) || begins(c.card, word) || begins(c.card, "GPU-"+word)
}

func begins(uuid, word string) bool {
	return len(word) >= len("GPU-")+1 && len(uuid) >= len(word) && strings.EqualFold(uuid[:len(word)], word)
}

// shown are the candidates that exist, by their place in the list, and the first word that names none of them. A device that is named twice
// exists once.
func (v visible) shown(all []candidate) (out []int, unknown string) {
	taken := map[int]bool{}
	for _, word := range v {
		found := false
		for i, c := range all {
			if !c.is(word) {
				continue
			}
			found = true
			if !taken[i] {
				taken[i] = true
				out = append(out, i)
			}
		}
		if !found {
			return out, word
		}
	}
	return out, ""
}
