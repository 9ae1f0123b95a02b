package explain

import (
	"hash/maphash"
	"slices"
)

// trail finds facts by subject: pairs of a subject and a fact, oldest first. It keeps the newest marks only; finding costs a walk over all of
// them, some 1 ns each, and no memory but 16 bytes a mark.
type trail struct {
	chunks  [][]mark
	most    int    // marks; 0 = no bound
	chunk   int    // marks that are let go at once
	dropped uint64 // sequence of the newest mark that was let go; 0 = all are here
}

// mark is one subject's part in one fact.
type mark struct {
	key      uint64 // hash of the subject; its lowest byte is the fact's place in its decision
	sequence uint64
}

// topic is what a subject's marks have in common.
type topic uint64

var seed = maphash.MakeSeed()

// topicOf hashes a subject. Different uses of one text are different subjects. Two subjects share a topic once in 2^56.
func topicOf(use, subject string) topic {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(use)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(subject)
	return topic(h.Sum64() &^ 0xff)
}

// Uses of subjects.
const (
	ofModel = "model"
	ofID    = "id"    // a placement or a lease
	ofAsked = "asked" // a request, by what it caused
	ofSelf  = "self"  // a decision
)

// add notes that a fact is about a subject. Beyond the 256th event of a decision nothing is noted.
func (t *trail) add(about topic, sequence uint64, nth int) {
	if nth > 0xff {
		return
	}
	if n := len(t.chunks); n == 0 || len(t.chunks[n-1]) == t.chunk {
		var next []mark
		if n > 0 { // small journals stay small
			next = make([]mark, 0, t.chunk)
		}
		t.chunks = append(t.chunks, next)
		if t.most > 0 && n*t.chunk >= t.most {
			old := t.chunks[0]
			t.dropped = old[len(old)-1].sequence
			t.chunks = slices.Delete(t.chunks, 0, 1)
		}
	}
	last := &t.chunks[len(t.chunks)-1]
	*last = append(*last, mark{uint64(about) | uint64(nth), sequence})
}

// find returns the facts of a subject that are here, oldest first.
func (t *trail) find(about topic) (out []spot) {
	for _, chunk := range t.chunks {
		for _, m := range chunk {
			if m.key&^0xff == uint64(about) {
				out = append(out, spot{m.sequence, int(m.key & 0xff)})
			}
		}
	}
	return out
}

// notes are what states showed at facts long ago, oldest first. It keeps the newest.
type notes struct {
	all     []ref
	most    int    // 0 = no bound
	dropped uint64 // sequence of the newest note that was let go; 0 = all are here
	texts   map[string]string
}

// mostTexts bounds the texts of which copies are avoided: the same models stay on the same devices again and again.
const mostTexts = 1024

func (n *notes) add(r ref) {
	if known, ok := n.texts[r.note]; ok {
		r.note = known
	} else {
		if n.texts == nil || len(n.texts) == mostTexts {
			n.texts = map[string]string{}
		}
		n.texts[r.note] = r.note
	}
	n.all = append(n.all, r)
	if n.most > 0 && len(n.all) == 2*n.most {
		n.dropped = n.all[n.most-1].sequence
		n.all = append([]ref(nil), n.all[n.most:]...)
	}
}

// of is the note at a fact; empty when it has none.
func (n *notes) of(s spot) string {
	i, found := slices.BinarySearchFunc(n.all, s, func(r ref, s spot) int { return r.compare(s) })
	if !found {
		return ""
	}
	return n.all[i].note
}
