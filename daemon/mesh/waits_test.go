package mesh

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// wantWaits fails unless a message of the node is kept for that reason.
func (n *node) wantWaits(id string, code protocol.Code) {
	n.Helper()
	synctest.Wait()
	res, err := n.m.Message(id)
	if err != nil {
		n.Fatal(err)
	}
	switch {
	case code == "" && res.Waits != nil:
		n.Errorf("message of %s waits: %+v", n.name, res.Waits)
	case code != "" && (res.Waits == nil || res.Waits.Code != code):
		n.Errorf("message of %s waits for %+v, want %s", n.name, res.Waits, code)
	}
}

func TestReasonsOfWaiting(t *testing.T) {
	story(t, func(w *world) {
		id := w.alice.send("bob", "hello")
		w.alice.wantWaits(id, "")
		w.alice.unplug()
		pass(time.Second)
		id = w.alice.send("bob", "no network")
		w.alice.wantWaits(id, protocol.CodeUnavailable)
		w.alice.plug()
		pass(time.Minute)
		w.alice.wantWaits(id, "")
		w.alice.m.out.mu.Lock()
		n := len(w.alice.m.out.waiting)
		w.alice.m.out.mu.Unlock()
		if n != 0 {
			t.Errorf("%d messages wait", n)
		}
	})
}

// A broker whose disk is full asks to wait. The reason shows, and is gone with the message.
func TestBrokersDiskIsFull(t *testing.T) {
	ambush(t, func(w *world) {
		id := w.alice.send("bob", "hello")
		w.alice.m.out.retry(id, protocol.Refuse(protocol.CodeStoreFull, "the broker's disk is full").RetryAfter(time.Second))
		if e := w.alice.m.out.refused(id); e == nil || e.Code != protocol.CodeStoreFull {
			t.Errorf("refused for %v", e)
		}
	})
}

// After a full disk, here or at the broker, a connection is tried again within 2 s, and is not taken for one that was refused.
func TestFullDiskIsTriedAgainSoon(t *testing.T) {
	ambush(t, func(w *world) {
		u := w.alice.m.control
		for _, code := range []protocol.Code{protocol.CodeStoreFull, protocol.CodeStoreFailed} {
			for range 20 {
				if wait := u.failed(protocol.Refuse(code, "full"), backoffMost); wait > 2*diskWait {
					t.Errorf("%s: tried again after %s", code, wait)
				}
			}
			if h := u.health(); h.State != protocol.ConnReconnecting {
				t.Errorf("%s: %s", code, h.State)
			}
		}
	})
}

// The broker alone says that alice is out: she is told by whose word, and nothing is kept that would never leave.
func TestRemovedByTheBrokersWord(t *testing.T) {
	ambush(t, func(w *world) {
		u := w.alice.m.control
		u.failed(protocol.Refuse(protocol.CodeRevoked, "this key was revoked"), backoffLeast)
		if who := w.alice.m.Whoami(nil); who.Role != roleRemoved || who.Trust != protocol.TrustUnverified || who.Reason == "" {
			t.Errorf("%+v", who)
		}
		_, err := w.alice.m.Send(t.Context(), protocol.SendRequest{To: "bob", Body: "hello"}, nil)
		wantRefusal(t, err, protocol.CodeRevoked)
		if n := w.alice.m.out.depth(); n != 0 {
			t.Errorf("%d messages were kept", n)
		}
	})
}
