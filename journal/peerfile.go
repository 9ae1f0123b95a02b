package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// A copy of another host's journal lies in files of ours: each holds decisions one after the other, as 4 bytes of length, 4 bytes of CRC-32C and
// a protobuf RecordedDecision. A file is named after its first sequence. Files are append-only, and all but the last are fsynced.
const (
	peerFileEnd  = ".decisions"
	peerFileSize = 16 << 20 // a new file begins behind it
	peerRecord   = 8        // bytes before a decision
	longestPeer  = 64 << 20 // bytes of one decision; a greater length is damage
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// peerFile is one file of a copy.
type peerFile struct {
	path  string
	first uint64
	size  int64 // of whole records
}

func peerFileName(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, peerFileEnd))
}

// listPeerFiles finds the files of a copy, in order. Sizes are what is on disk.
func listPeerFiles(dir string) ([]peerFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []peerFile
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), peerFileEnd)
		first, err := strconv.ParseUint(name, 10, 64)
		if !ok || err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		out = append(out, peerFile{path: filepath.Join(dir, e.Name()), first: first, size: info.Size()})
	}
	slices.SortFunc(out, func(a, b peerFile) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// appendRecord adds a decision to b in the form of the file.
func appendRecord(b []byte, d *messages.RecordedDecision) ([]byte, error) {
	at := len(b)
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(append(b, make([]byte, peerRecord)...), d)
	if err != nil {
		return b[:at], err
	}
	body := b[at+peerRecord:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(body, castagnoli))
	return b, nil
}

// errBroken says that no whole record is at a place of a file.
var errBroken = errors.New("no whole decision is here")

// readRecord reads the next decision and tells how many bytes it takes. io.EOF: there is none; errBroken: it is cut short or changed.
func readRecord(in *bufio.Reader, buf *[]byte) (*messages.RecordedDecision, int64, error) {
	var head [peerRecord]byte
	if _, err := io.ReadFull(in, head[:]); err == io.EOF {
		return nil, 0, io.EOF
	} else if err == io.ErrUnexpectedEOF {
		return nil, 0, errBroken
	} else if err != nil {
		return nil, 0, err
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size == 0 || size > longestPeer {
		return nil, 0, errBroken
	}
	*buf = slices.Grow((*buf)[:0], int(size))[:size]
	if _, err := io.ReadFull(in, *buf); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, 0, errBroken
	} else if err != nil {
		return nil, 0, err
	}
	d := new(messages.RecordedDecision)
	if crc32.Checksum(*buf, castagnoli) != binary.LittleEndian.Uint32(head[4:]) || proto.Unmarshal(*buf, d) != nil {
		return nil, 0, errBroken
	}
	return d, peerRecord + int64(size), nil
}

// pass reads a file's records from an offset up to its size. fn gets each with the place where it begins.
func (f peerFile) pass(from int64, fn func(d *messages.RecordedDecision, at, size int64) error) error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReaderSize(io.NewSectionReader(file, from, max(0, f.size-from)), 64<<10)
	var buf []byte
	for at := from; ; {
		d, n, err := readRecord(in, &buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &brokenAt{f.path, at, err}
		}
		if err := fn(d, at, n); err != nil {
			return err
		}
		at += n
	}
}

// brokenAt is where a file of a copy can't be read.
type brokenAt struct {
	path string
	at   int64
	err  error
}

func (b *brokenAt) Error() string {
	return fmt.Sprintf("%s at byte %d: %v", filepath.Base(b.path), b.at, b.err)
}
func (b *brokenAt) Unwrap() error { return b.err }
