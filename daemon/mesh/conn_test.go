package mesh

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

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

// The broker stops just when it has taken alice's message and given her bob's: both count, though she can tell nobody any more.
func TestLastFramesCount(t *testing.T) {
	ambush(t, func(w *world) {
		id, bobs := w.alice.send("bob", "there?"), w.bob.sealed(w.bob.send("alice", "yes"), w.alice)
		bobs.Type = protocol.TypePush
		push, err := json.Marshal(bobs)
		if err != nil {
			t.Fatal(err)
		}
		alice := w.alice.wire()
		c := alice.w.c
		c.out, c.err = nil, errors.New("hung up") // nothing goes out
		c.frames = [][]byte{push, []byte(`{"type":"ack","id":"` + id + `","messageId":"m","queued":true}`)}
		close(c.gone)
		for err == nil {
			err = alice.w.sleep(time.Time{}, nil)
		}
		if err != c.err {
			t.Error(err)
		}
		if state := w.alice.wantMessage(id).State; state != protocol.StateQueued {
			t.Errorf("her message is %s", state)
		}
		if n := w.alice.m.out.depth(); n != 0 {
			t.Errorf("%d messages would be sent again", n)
		}
		w.alice.want("bob: yes")
	})
}
