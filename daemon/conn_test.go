package daemon

import (
	"errors"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// The broker refuses bob's hello and hangs up at once: what bob's user sees is the refusal, whichever his daemon notices first.
func TestAnswerBeforeTheEnd(t *testing.T) {
	for range 100 {
		c := &conn{gone: make(chan struct{}), err: errors.New("hung up")}
		answer := make(chan []byte, 1)
		answer <- []byte(`{"type":"error","code":"cloned","message":"another copy is there"}`)
		close(c.gone)
		wantRefusal(t, c.wait(answer, protocol.TypeHelloAck, nil), protocol.CodeCloned)
		if err := c.wait(answer, protocol.TypeHelloAck, nil); err != c.err {
			t.Fatalf("without an answer: %v", err)
		}
	}
}
