package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

// countMost bounds what is read of a text that is too long, to say how long it is.
const countMost = 1 << 30

// message returns the message that begins at argument i: the rest of the line, or stdin for "-".
func (c *call) message(i int) (string, error) {
	body := c.rest(i)
	if body == "-" {
		var err error
		if body, err = readText(c.stdin); err != nil {
			return "", err
		}
	}
	return body, checkBody(body)
}

// oneLine takes the newline off a single line, as $(…) does.
func oneLine(body string) string {
	if line, ok := strings.CutSuffix(body, "\n"); ok && !strings.Contains(line, "\n") {
		return line
	}
	return body
}

// readText reads a message to its end. A single line loses its newline, as in $(…); several lines stay as they are, since a patch
// without its last newline is broken.
func readText(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, protocol.MaxBody+2))
	if err != nil {
		return "", fmt.Errorf("read the message from stdin: %w", err)
	}
	if len(b) <= protocol.MaxBody+1 {
		return oneLine(string(b)), nil
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(r, countMost-int64(len(b))))
	if err != nil {
		return "", fmt.Errorf("read the message from stdin: %w", err)
	}
	e := protocol.TextTooLarge(int64(len(b)) + rest)
	if int64(len(b))+rest == countMost {
		e.Message = fmt.Sprintf("message of %d bytes or more, at most %d are possible", countMost, protocol.MaxBody)
	}
	return "", e
}
