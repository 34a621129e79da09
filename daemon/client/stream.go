package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
)

// maxEvent bounds one event of the stream. The largest that the daemon writes tells the states of a message
// to some thousand people.
const maxEvent = 8 << 20

// stream reads server-sent events (WHATWG HTML, 9.2). What is not in order costs the event that it is in,
// and no other.
type stream struct{ r *bufio.Reader }

// rawEvent is one event as it was read.
type rawEvent struct {
	id   uint64
	data []byte
	size int // bytes of data, those beyond maxEvent too
}

var errEventTooLong = errors.New("it is too long")

func newStream(r io.Reader) *stream {
	s := &stream{r: bufio.NewReader(r)}
	if mark, err := s.r.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" {
		_, _ = s.r.Discard(3)
	}
	return s
}

// next returns the next event that has data. The error is that of the connection: io.EOF at its end, where what is not
// complete does not count.
func (s *stream) next() (e rawEvent, err error) {
	for {
		line, size, err := s.line()
		if err != nil {
			return e, err
		}
		if len(line) == 0 && e.size > 0 {
			e.data = bytes.TrimSuffix(e.data, []byte("\n"))
			return e, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "data":
			if e.size += size; e.size <= maxEvent {
				e.data = append(append(e.data, value...), '\n')
			}
		case "id":
			if id, err := strconv.ParseUint(string(value), 10, 64); err == nil {
				e.id = id
			}
		}
	}
}

// line returns the next line without its end, as much of it as an event may have, and its whole size.
func (s *stream) line() (line []byte, size int, err error) {
	for {
		part, err := s.r.ReadSlice('\n')
		size += len(part)
		if room := maxEvent - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}
		if err == nil {
			return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), size, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, size, err
		}
	}
}
