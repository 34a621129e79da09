package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// TestSendAllocations holds the hot path to what the queue, the sender's memory and the ids need: 19. The rest of the limit is for
// the goroutines beside it, which are counted too.
func TestSendAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	story(t, Limits{Burst: 1 << 20, QueueMessages: 1 << 20, QueueBytes: 1 << 40}, func(w *world) {
		alice := w.alice.connect()
		c := w.srv.mesh(w.mesh).members[w.alice.key.Public()].conns.get(w.alice.key.Public())
		s := alice.seal(w.bob.key.Public(), protocol.PriorityLow, "hi")
		frame := fmt.Appendf(nil, `{"type":"send","id":"%022d","targetSpec":"%s","priority":"low","nonce":"%s","ciphertext":"%s"}`,
			0, s.TargetSpec, s.Nonce, s.Ciphertext)
		n := 0
		got := testing.AllocsPerRun(500, func() {
			n++
			copy(frame[len(`{"type":"send","id":"`):], fmt.Appendf(nil, "%022d", n))
			c.handleSend(frame)
		})
		t.Logf("%.1f allocations", got)
		if got > 36 {
			t.Errorf("%.1f allocations for one send", got)
		}
	})
}

// TestOverLoopback is the story of stories over TCP, as it is in the world: many senders, one broker, nothing lost or twice.
func TestOverLoopback(t *testing.T) {
	w := newWorld(t, Limits{Burst: 1 << 20, Window: 16})
	defer w.close()
	dial := w.overLoopback()
	alice, bob, cathy := dial(w.alice).enter(), dial(w.bob).enter(), dial(w.cathy).enter()
	const each = 300
	for _, from := range []*client{alice, cathy} {
		go func() {
			for i := range each {
				s := from.seal(w.bob.key.Public(), protocol.PriorityNext, fmt.Sprintf("%s %d", from.name, i))
				from.write(s)
			}
		}()
	}
	next := map[string]int{}
	for range 2 * each {
		var p protocol.Push
		bob.wantFrame(protocol.TypePush, &p)
		text, _ := bob.open(&p).Text()
		var name string
		var i int
		fmt.Sscan(text, &name, &i)
		if next[name] != i {
			t.Fatalf("%s sent %d, want %d", name, i, next[name])
		}
		next[name]++
		bob.write(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: p.MessageID})
	}
	if next["alice"] != each || next["cathy"] != each {
		t.Errorf("received %v", next)
	}
	for range each {
		alice.take(protocol.TypeAck, func([]byte) bool { return true })
	}
	alice.ws.Close()
	bob.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
}
