package trainer

import (
	"bufio"
	"errors"
	"io"
)

// longestLine is how much of a line is read. What is longer is cut: a trainer's reports are short.
const longestLine = 64 << 10

// readLines gives each line of a trainer's output to take, without its end, until the output ends. A line that is too long comes cut, once.
func readLines(in io.Reader, take func(line []byte, cut bool)) error {
	r := bufio.NewReaderSize(in, longestLine)
	for {
		line, err := r.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
		} else if n == 0 && err != nil {
			return ended(err)
		}
		take(line, cut)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			return ended(err)
		}
	}
}

func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
