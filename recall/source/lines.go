package source

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxLine is the longest record that is read, in bytes. Longer ones hold pictures.
const maxLine = 16 << 20

// lineReader reads whole lines and counts bytes. A line longer than maxLine is skipped.
type lineReader struct {
	r    *bufio.Reader
	buf  []byte
	at   int64 // offset behind the last whole line
	from int64 // offset of the line that next returned
}

func newLineReader(r io.Reader, start int64) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 256<<10), at: start}
}

// next returns the next whole line without its end; the bytes are valid until the next call. It
// returns nil for a line that is too long, and io.EOF where no whole line is left.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	l.from = l.at
	size, long := int64(0), false
	for {
		part, err := l.r.ReadSlice('\n')
		size += int64(len(part))
		if err == nil && len(l.buf) == 0 && !long {
			l.at += size
			return bytes.TrimRight(part, "\r\n"), nil
		}
		if !long && len(l.buf)+len(part) > maxLine {
			long, l.buf = true, nil
		}
		if !long {
			l.buf = append(l.buf, part...)
		}
		switch {
		case err == nil:
			l.at += size
			if long {
				return nil, nil
			}
			return bytes.TrimRight(l.buf, "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
