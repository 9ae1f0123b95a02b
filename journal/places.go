package journal

import (
	"slices"
	"sync"
)

// placeEvery is the least distance between two places of a block, in bytes. It bounds both what a single read has to walk over and the memory:
// 16 bytes for each 64 KiB of journal.
const placeEvery = 64 << 10

// place is where a record begins in a block file.
type place struct {
	sequence uint64
	offset   int64
}

// places remembers where some records begin, so that a decision is found by its sequence without reading its whole block. Every
// reading of a block notes them. They are hints: a reader that doesn't find the sequence there forgets the block's places and walks from the
// block's start. Records never move, because the stream is append-only.
type places struct {
	mu     sync.Mutex
	blocks map[string][]place // by path, ascending
}

// note remembers a record's place when it lies far enough behind the last one.
func (p *places) note(path string, sequence uint64, offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.blocks[path]
	if n := len(known); n > 0 && (offset < known[n-1].offset+placeEvery || sequence <= known[n-1].sequence) || n == 0 && offset != 0 {
		return
	}
	if p.blocks == nil {
		p.blocks = map[string][]place{}
	}
	p.blocks[path] = append(known, place{sequence, offset})
}

// before is the nearest known place of a block at or before a sequence; the block's start when none is known.
func (p *places) before(path string, sequence uint64) place {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.blocks[path]
	i, found := slices.BinarySearchFunc(known, sequence, func(at place, s uint64) int {
		switch {
		case at.sequence < s:
			return -1
		case at.sequence > s:
			return 1
		}
		return 0
	})
	if found {
		return known[i]
	}
	if i == 0 {
		return place{}
	}
	return known[i-1]
}

// first is the sequence of a block's first record; 0 when it isn't known.
func (p *places) first(path string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.blocks[path]; len(known) > 0 {
		return known[0].sequence
	}
	return 0
}

func (p *places) forget(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.blocks, path)
}
