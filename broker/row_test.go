package broker

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/protocol"
)

func TestRowsComeBackAsTheyWere(t *testing.T) {
	message := messageRow{
		class: queue.Low, noReceipt: true, sharer: 1<<63 | 5, created: 1_700_000_000_000, sender: [32]byte{1}, member: [32]byte{2},
		messageID: []byte("m"), clientID: []byte("c"), target: []byte("@backend"), name: []byte("alice"), wrap: bytes.Repeat([]byte("w"), wrapSize),
	}
	b := message.appendTo(nil)
	if len(b) != message.size() {
		t.Errorf("%d bytes, size says %d", len(b), message.size())
	}
	if got, err := parseMessageRow(b); err != nil || !reflect.DeepEqual(got, message) {
		t.Errorf("message: %+v, %v", got, err)
	}
	receipt := receiptRow{sharer: 1<<62 | 7, ReceiptView: protocol.ReceiptView{
		MessageID: []byte("m"), ClientMessageID: []byte("c"), Recipient: []byte("r"), State: []byte("read"), Reason: []byte{}, At: 7,
		Proof: &protocol.SealedView{Sender: []byte("s"), Nonce: []byte("n"), Ciphertext: bytes.Repeat([]byte("x"), maxProof)},
	}}
	r := receipt.appendTo(nil)
	if got, err := parseReceiptRow(r); err != nil || !reflect.DeepEqual(got, receipt) {
		t.Errorf("receipt: %v", err)
	}
	if sharerOf(b) != message.sharer || sharerOf(r) != receipt.sharer || sharerOf(nil) != 0 {
		t.Error("sharerOf does not find it")
	}
	for n := range b { // every cut is an error, none a panic
		if _, err := parseMessageRow(b[:n]); err == nil && n < len(b) {
			t.Errorf("%d of %d bytes are a message", n, len(b))
		}
	}
	for n := range r[:200] {
		if _, err := parseReceiptRow(r[:n]); err == nil {
			t.Errorf("%d of %d bytes are a receipt", n, len(r))
		}
	}
}

func TestUnreadableRowHoldsUpNobody(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		a := w.srv.mesh(w.mesh).members[w.bob.key.Public()].address
		w.srv.queue.Put(queue.Message{
			To: []queue.Recipient{a.mail}, Headers: [][]byte{{rowMessage, 9}}, Class: queue.Next,
		}, nil)
		w.srv.mesh(w.mesh).recount(a, 0, false, 2)
		alice.Send(w.bob, "hi")
		w.bob.connect().Want("hi")
		if !strings.Contains(w.log.String(), "cannot be read") {
			t.Error("nobody heard of it")
		}
	})
}
