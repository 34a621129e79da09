package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// maxLine bounds one message of the client, as the library does: its own limit would end the connection.
const maxLine = 16 << 20

// lines passes on what the client writes, line by line, as far as each is one JSON-RPC message. Any other line is answered
// with an error and skipped. To the library such a line would be the end of the connection, and of all tools with it.
type lines struct {
	in      *bufio.Reader
	close   func() error
	out     io.Writer
	pending []byte // of a good line, still to be read
}

func newLines(in io.ReadCloser, out io.Writer) *lines {
	return &lines{in: bufio.NewReaderSize(in, 64<<10), close: in.Close, out: out}
}

func (l *lines) Close() error { return l.close() }

// Read gives the next good line, or a part of it.
func (l *lines) Read(p []byte) (int, error) {
	for len(l.pending) == 0 {
		line, size, err := l.next()
		if err != nil && size == 0 {
			return 0, err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if fault := checkLine(line, size); fault != nil {
			if err := l.refuse(fault); err != nil {
				return 0, err
			}
			continue
		}
		l.pending = append(line, '\n')
	}
	n := copy(p, l.pending)
	l.pending = l.pending[n:]
	return n, nil
}

// next returns the next line, at most maxLine bytes of it, and its whole size. An error comes with what was before it.
func (l *lines) next() (line []byte, size int, err error) {
	for {
		part, err := l.in.ReadSlice('\n')
		size += len(part)
		if room := maxLine - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, size, err
		}
	}
}

// checkLine says what keeps a line from being a message; nil for a message.
func checkLine(line []byte, size int) *jsonrpc.Error {
	parse := func(format string, args ...any) *jsonrpc.Error {
		return &jsonrpc.Error{Code: jsonrpc.CodeParseError, Message: fmt.Sprintf("parse error: "+format, args...)}
	}
	invalid := func(format string, args ...any) *jsonrpc.Error {
		return &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: fmt.Sprintf("invalid request: "+format, args...)}
	}
	switch {
	case size > maxLine:
		return invalid("a line of %d bytes, at most %d are possible", size, maxLine)
	case bytes.HasPrefix(line, []byte("\xef\xbb\xbf")):
		return parse("the line begins with a byte order mark")
	case len(line) > 15 && strings.EqualFold(string(line[:15]), "content-length:"):
		return parse("messages are lines of JSON, without headers")
	case !utf8.Valid(line):
		return parse("the line is not UTF-8")
	case !json.Valid(line):
		return parse("the line is not one JSON value")
	case line[0] == '[':
		return invalid("one message a line: there are no batches")
	}
	msg, err := jsonrpc.DecodeMessage(line)
	if err != nil {
		return invalid("%v", err)
	}
	if answer, ok := msg.(*jsonrpc.Response); ok && answer.Error == nil && answer.Result == nil {
		return invalid("it has no method")
	}
	return nil
}

// refuse answers a line of which nobody can say whose it is: the id is null.
func (l *lines) refuse(fault *jsonrpc.Error) error {
	b, err := json.Marshal(struct {
		Version string         `json:"jsonrpc"`
		ID      *string        `json:"id"`
		Error   *jsonrpc.Error `json:"error"`
	}{"2.0", nil, fault})
	if err != nil {
		return fmt.Errorf("encode an error: %w", err)
	}
	_, err = l.out.Write(append(b, '\n'))
	return err
}

// lockedWriter lets several write whole lines.
type lockedWriter struct {
	io.Closer

	mu sync.Mutex
	w  io.Writer
}

func newLockedWriter(w io.WriteCloser) *lockedWriter { return &lockedWriter{Closer: w, w: w} }

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
