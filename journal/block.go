package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
)

// The form of a record in a block file of nats-server 2.15 (filestore.go there), little endian:
//
//	total length(4, top bit: has headers) sequence(8) time(8) subject length(2) subject [header length(4) headers] body checksum(8)
//
// The checksum is HighwayHash-64 over sequence, time, subject, headers and body, keyed with the SHA-256 of "<stream>-<block index>".
// Blocks of streams without encryption and compression only, which is what this package makes.
const (
	recordHead    = 22
	checksumSize  = 8
	headersBit    = 1 << 31
	erasedBit     = 1 << 63
	tombstoneBit  = 1 << 62
	longestRecord = 32 << 20
)

// record is one record of a block; its bytes are those of the buffer it was read from.
type record struct {
	sequence uint64
	size     int // bytes in the file
	erased   bool
	tomb     bool
	subject  []byte
	headers  []byte
	body     []byte
}

// block is a block file.
type block struct {
	path  string
	index int
}

// listBlocks finds the blocks of a store in order; none when the store is new.
func listBlocks(dir string) ([]block, error) {
	entries, err := os.ReadDir(blocksDir(dir))
	if err != nil {
		if os.IsNotExist(err) {
			return nil, nil
		}
		return nil, err
	}
	var out []block
	for _, e := range entries {
		name, isBlock := strings.CutSuffix(e.Name(), ".blk")
		index, err := strconv.Atoi(name)
		if !isBlock || err != nil {
			continue
		}
		out = append(out, block{filepath.Join(blocksDir(dir), e.Name()), index})
	}
	slices.SortFunc(out, func(a, b block) int { return a.index - b.index })
	return out, nil
}

func (b block) hash() (hash.Hash64, error) {
	key := sha256.Sum256([]byte(streamName + "-" + strconv.Itoa(b.index)))
	return highwayhash.New64(key[:])
}

// recordError says what is wrong with the bytes at an offset. partial: the record reaches past the end of the file, or only zeros
// follow, as after a write that was cut short.
type recordError struct {
	what    string
	partial bool
}

func (e *recordError) Error() string { return e.what }

// checksumError is a record of sane shape whose bytes changed; what follows it can still be read.
type checksumError struct{ size int }

func (e *checksumError) Error() string { return "the checksum does not match" }

// parseRecord reads the record at the start of buf. sum nil leaves the checksum unchecked.
func parseRecord(buf []byte, sum hash.Hash64) (record, error) {
	if len(buf) < recordHead {
		return record{}, &recordError{fmt.Sprintf("%d bytes are left, less than a record's head", len(buf)), true}
	}
	length := binary.LittleEndian.Uint32(buf)
	hasHeaders := length&headersBit != 0
	size := int(length &^ headersBit)
	subjectLen := int(binary.LittleEndian.Uint16(buf[20:]))
	least := recordHead + subjectLen + checksumSize
	if hasHeaders {
		least += 4
	}
	switch {
	case size < least || size > longestRecord:
		return record{}, &recordError{fmt.Sprintf("a record of %d bytes is impossible", size), allZero(buf)}
	case size > len(buf):
		return record{}, &recordError{fmt.Sprintf("the record has %d bytes, the file ends after %d", size, len(buf)), true}
	}
	r := record{sequence: binary.LittleEndian.Uint64(buf[4:]), size: size}
	rest := buf[recordHead : size-checksumSize]
	r.subject, rest = rest[:subjectLen], rest[subjectLen:]
	if hasHeaders {
		n := int(binary.LittleEndian.Uint32(rest))
		rest = rest[4:]
		if n > len(rest) {
			return record{}, &checksumError{size}
		}
		r.headers, rest = rest[:n], rest[n:]
	}
	r.body = rest
	if sum != nil && !sumMatches(buf[:size], r, sum) {
		return record{}, &checksumError{size}
	}
	r.erased, r.tomb = r.sequence&erasedBit != 0, r.sequence&tombstoneBit != 0
	r.sequence &^= erasedBit | tombstoneBit
	return r, nil
}

func sumMatches(raw []byte, r record, sum hash.Hash64) bool {
	sum.Reset()
	sum.Write(raw[4:20])
	sum.Write(r.subject)
	sum.Write(r.headers)
	sum.Write(r.body)
	var out [checksumSize]byte
	return bytes.Equal(sum.Sum(out[:0]), raw[len(raw)-checksumSize:])
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// heads reads the headers of a record in one pass.
func (r record) heads() heads {
	// One copy for all: the values are parts of it, and the buffer is used again.
	text := string(r.headers)
	_, text, _ = strings.Cut(text, "\r\n") // NATS/1.0
	var h heads
	for {
		line, rest, found := strings.Cut(text, "\r\n")
		if !found {
			return h
		}
		text = rest
		if key, value, ok := strings.Cut(line, ":"); ok {
			h.set(key, strings.TrimPrefix(value, " "))
		}
	}
}

// rawHeader finds one header without copying.
func rawHeader(headers []byte, key string) []byte {
	for rest := headers; ; {
		_, next, found := bytes.Cut(rest, []byte("\r\n"))
		if !found {
			return nil
		}
		rest = next
		if len(rest) > len(key) && rest[len(key)] == ':' && string(rest[:len(key)]) == key {
			value, _, _ := bytes.Cut(rest[len(key)+1:], []byte("\r\n"))
			return bytes.TrimPrefix(value, []byte(" "))
		}
	}
}

// follows tells whether any whole record with a plausible sequence stands in buf: then what stands before is damage, not a torn end.
func follows(buf []byte, after uint64, sum hash.Hash64) bool {
	for at := 1; at+recordHead <= len(buf); at++ {
		seq := binary.LittleEndian.Uint64(buf[at+4:])
		if seq <= after || seq > after+1<<20 {
			continue
		}
		if _, err := parseRecord(buf[at:], sum); err == nil {
			return true
		}
	}
	return false
}
