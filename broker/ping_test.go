package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// sealPing makes a ping to a key.
func (c *client) sealPing(to crypto.PublicKey) protocol.Send {
	s := c.seal(to, protocol.PriorityNow, "")
	s.Kind = protocol.KindPing
	return s
}

func TestPing(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.sealPing(w.bob.key.Public())
		alice.wantQueued(s)
		var p protocol.Push
		bob.wantFrame(protocol.TypePush, &p)
		bob.Ack(p)
		alice.WantReceipt(s, protocol.StateDelivered, true)

		// To nobody, and to a session whose connection ended but whose member is there.
		alice.wantNotQueued(alice.sealPing(w.cathy.key.Public()), protocol.CodeUnavailable)
		web := w.bob.session("web")
		web.leave()
		alice.wantQueued(alice.sealPing(w.bob.sessionKey("web").Public()))
		bob.wantFrame(protocol.TypePush, &p)
		bob.Ack(p)
		synctest.Wait()

		// Nobody gets it late.
		bob.freeze()
		alice.wantQueued(alice.sealPing(w.bob.key.Public()))
		bob.lose()
		time.Sleep(time.Minute)
		w.bob.connect().wantNone(protocol.TypePush)
		if n, _ := w.srv.queue.Depth(w.srv.mesh(w.mesh).addresses[w.bob.key.Public()].mail); n != 0 {
			t.Errorf("%d pings are counted as mail", n)
		}
	})
}
