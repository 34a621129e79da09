package broker

import (
	"encoding/binary"
	"fmt"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// A queued row is a header for its recipient and a body that all recipients share:
//
//	message  header: 1 priority(1) flags(1) sharer(8) created(8) sender(32) member(32) and, each after one byte of length,
//	         message id, client id, target, name, wrap
//	         body: nonce in base64 (32) and ciphertext in base64, as they came and as they go out
//	receipt  header: 2 0 0 sharer(8) and, each after two bytes of length, message id, client id, recipient, state, reason,
//	         proof sender, proof nonce, proof ciphertext; then at(8)
//
// Integers are big-endian.
const (
	rowMessage = 1
	rowReceipt = 2

	flagNoReceipt = 1 // of kind receipt or log, or of a connection without CapReceipts: nobody is told what becomes of it

	nonceSize = 32  // characters of a nonce in base64
	wrapSize  = 156 // characters of a wrap in base64

	rowFixed     = 1 + 1 + 1 + 8
	messageFixed = rowFixed + 8 + 32 + 32
)

// sharerOf is whom a row was counted for.
func sharerOf(header []byte) sharer {
	if len(header) < rowFixed {
		return 0
	}
	return sharer(binary.BigEndian.Uint64(header[3:]))
}

// messageRow is the header of a queued message. Its slices alias what it was read from.
type messageRow struct {
	class     queue.Class
	noReceipt bool
	sharer    sharer
	created   int64            // Unix ms
	sender    crypto.PublicKey // that sealed it
	member    crypto.PublicKey // of the sender
	messageID []byte
	clientID  []byte
	target    []byte
	name      []byte
	wrap      []byte // group messages only
}

func (r *messageRow) appendTo(b []byte) []byte {
	var flags byte
	if r.noReceipt {
		flags |= flagNoReceipt
	}
	b = append(b, rowMessage, byte(r.class), flags)
	b = binary.BigEndian.AppendUint64(b, uint64(r.sharer))
	b = binary.BigEndian.AppendUint64(b, uint64(r.created))
	b = append(append(b, r.sender[:]...), r.member[:]...)
	for _, s := range [...][]byte{r.messageID, r.clientID, r.target, r.name, r.wrap} {
		b = append(append(b, byte(len(s))), s...) // the splitter and the rules of names bound them
	}
	return b
}

// size is the number of bytes that appendTo appends.
func (r *messageRow) size() int {
	return messageFixed + 5 + len(r.messageID) + len(r.clientID) + len(r.target) + len(r.name) + len(r.wrap)
}

func parseMessageRow(b []byte) (r messageRow, err error) {
	if len(b) < messageFixed || b[0] != rowMessage {
		return r, errRow(b)
	}
	r.class, r.noReceipt = queue.Class(b[1]), b[2]&flagNoReceipt != 0
	r.sharer, r.created = sharerOf(b), int64(binary.BigEndian.Uint64(b[rowFixed:]))
	r.sender, r.member = crypto.PublicKey(b[rowFixed+8:]), crypto.PublicKey(b[rowFixed+40:])
	b = b[messageFixed:]
	for _, s := range [...]*[]byte{&r.messageID, &r.clientID, &r.target, &r.name, &r.wrap} {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return r, errRow(b)
		}
		*s, b = b[1:1+b[0]], b[1+int(b[0]):]
	}
	return r, nil
}

// settledHeader is a copy of the header without target, name and wrap: what is needed to tell the sender. The row's own bytes hold
// the body too, which nobody needs any more.
func settledHeader(header []byte) []byte {
	end := messageFixed
	for range 2 { // message id, client id
		end += 1 + int(header[end])
	}
	b := make([]byte, end+3)
	copy(b, header[:end])
	return b
}

// messageIDOf is the id in the header of a message.
func messageIDOf(header []byte) []byte {
	n := int(header[messageFixed])
	return header[messageFixed+1 : messageFixed+1+n]
}

// receiptRow is the header of a queued receipt.
type receiptRow struct {
	protocol.ReceiptView // without ReceiptID, which is the row's number
	sharer               sharer
}

func (r *receiptRow) appendTo(b []byte) []byte {
	var proof protocol.SealedView
	if r.Proof != nil {
		proof = *r.Proof
	}
	b = append(b, rowReceipt, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(r.sharer))
	for _, s := range [...][]byte{r.MessageID, r.ClientMessageID, r.Recipient, r.State, r.Reason, proof.Sender, proof.Nonce, proof.Ciphertext} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) // bounded by the splitter and maxProof
	}
	return binary.BigEndian.AppendUint64(b, uint64(r.At))
}

func parseReceiptRow(b []byte) (r receiptRow, err error) {
	if len(b) < rowFixed || b[0] != rowReceipt {
		return r, errRow(b)
	}
	r.sharer = sharerOf(b)
	b = b[rowFixed:]
	var proof protocol.SealedView
	for _, s := range [...]*[]byte{&r.MessageID, &r.ClientMessageID, &r.Recipient, &r.State, &r.Reason, &proof.Sender, &proof.Nonce, &proof.Ciphertext} {
		if len(b) < 2 {
			return r, errRow(b)
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		if len(b) < n {
			return r, errRow(b)
		}
		*s, b = b[2:n], b[n:]
	}
	if len(b) != 8 {
		return r, errRow(b)
	}
	r.At = int64(binary.BigEndian.Uint64(b))
	if len(proof.Nonce) > 0 {
		r.Proof = &proof
	}
	return r, nil
}

func errRow(b []byte) error {
	return fmt.Errorf("queued row of %d bytes: %w", len(b), store.ErrCorrupt)
}

// classOf is the queue's class of a priority that the splitter has checked.
func classOf(priority []byte) queue.Class {
	switch string(priority) {
	case protocol.PriorityNow:
		return queue.Now
	case protocol.PriorityLow:
		return queue.Low
	}
	return queue.Next
}

var priorities = [...]string{queue.Now: protocol.PriorityNow, queue.Next: protocol.PriorityNext, queue.Low: protocol.PriorityLow}
