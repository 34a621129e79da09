package broker

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

func TestAliceWritesToBob(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.Send(w.bob, "hi")
		bob.Want("hi")
		alice.WantReceipt(s, protocol.StateDelivered, true)
	})
}

func TestOfflineThenBack(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		for _, text := range []string{"one", "two", "three"} {
			alice.Send(w.bob, text)
		}
		bob := w.bob.connect()
		for _, text := range []string{"one", "two", "three"} {
			bob.Want(text)
		}
		bob.wantNone(protocol.TypePush)
		bob.leave()
		bob = w.bob.connect()
		bob.wantNone(protocol.TypePush)
	})
}

func TestReceiptReachesTheOfflineSenderLater(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		s := alice.Send(w.bob, "hi")
		alice.leave()
		w.bob.connect().Want("hi")
		time.Sleep(time.Hour)
		alice = w.alice.connect()
		alice.WantReceipt(s, protocol.StateDelivered, true)
		alice.leave()
		w.alice.connect().wantNone(protocol.TypeReceipt)
	})
}
