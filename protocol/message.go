package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/crypto"
)

// Message is an opened envelope: its header is proved to be From's, and Trust says what is known of who that is.
// Only Text returns what a sender wrote to be read; bodies of other kinds have accessors of their own.
type Message struct {
	header    *Header
	rawHeader []byte // as signed
	body      []byte
	group     bool
	seq       uint64
	opened    crypto.PublicKey
	trust     Trust
	name      string
	label     string
}

// Header returns a copy of the header.
func (m *Message) Header() Header { return *m.header }

// ID returns the sender's id of the message, the client id.
func (m *Message) ID() string { return m.header.ID }

// From returns the key that sealed it.
func (m *Message) From() crypto.PublicKey { return m.header.From }

// Member returns the member key that answers for From.
func (m *Message) Member() crypto.PublicKey { return m.header.Member }

// Name returns the member's name: from his certificate, or, as TrustInvited, the one that he asked for.
func (m *Message) Name() string { return m.name }

// Label returns the label of the session or API key that sealed it; empty for a member key.
func (m *Message) Label() string { return m.label }

// Trust returns what was known of the member when the message was opened.
func (m *Message) Trust() Trust { return m.trust }

// Kind returns the kind as sent, which may be one that this build does not know.
func (m *Message) Kind() string { return m.header.Kind }

// Group reports whether it was sealed for many.
func (m *Message) Group() bool { return m.group }

// Seq returns the message's number for us, from the header or our wrap; zero: it has none.
func (m *Message) Seq() uint64 { return m.seq }

// Opened returns our key that opened it: that of the inbox, of the number and of the replay row.
func (m *Message) Opened() crypto.PublicKey { return m.opened }

// SealedAt returns when it was sealed, by the sender's word.
func (m *Message) SealedAt() time.Time { return TimeOf(m.header.TS) }

// Text returns what the sender wrote, and what is known of him. It is the only way to it, so that no text is shown
// without its trust. Receipts, logs, cards and kinds that this build does not know have no text.
func (m *Message) Text() (string, Trust) {
	switch m.header.Kind {
	case KindText, KindQuestion:
		return string(m.body), m.trust
	}
	return "", m.trust
}

const messageFormat = "cmi1" // stored form, see MarshalBinary

// MarshalBinary returns the message for an inbox row: "cmi1" ‖ u8 trust ‖ u8 group ‖ u64be seq ‖ opened(32) ‖
// u8 len ‖ name ‖ u8 len ‖ label ‖ u32be len(H) ‖ H ‖ body. It holds plaintext.
func (m *Message) MarshalBinary() ([]byte, error) {
	trust, ok := trustByte(m.trust)
	if !ok || m.header == nil || len(m.name) > 255 || len(m.label) > 255 {
		return nil, errors.New("store a message: it was never opened")
	}
	b := make([]byte, 0, 64+len(m.name)+len(m.label)+len(m.rawHeader)+len(m.body))
	b = append(b, messageFormat...)
	b = append(b, trust, boolByte(m.group))
	b = binary.BigEndian.AppendUint64(b, m.seq)
	b = append(b, m.opened[:]...)
	b = append(b, byte(len(m.name)))
	b = append(b, m.name...)
	b = append(b, byte(len(m.label)))
	b = append(b, m.label...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.rawHeader)))
	b = append(b, m.rawHeader...)
	return append(b, m.body...), nil
}

// UnmarshalBinary reads what MarshalBinary wrote, and believes it: it is for our own disk alone. It keeps nothing of b.
func (m *Message) UnmarshalBinary(b []byte) error {
	r := rowReader{rest: b}
	if string(r.take(len(messageFormat))) != messageFormat {
		return errors.New("stored message: of another format")
	}
	trust, trustOK := byteTrust(r.byte())
	group := r.byte()
	seq := r.take(8)
	opened := r.take(crypto.KeySize)
	name := string(r.take(int(r.byte())))
	label := string(r.take(int(r.byte())))
	hdrLen := r.take(4)
	if r.short || !trustOK || group > 1 || binary.BigEndian.Uint32(hdrLen) > MaxHeader {
		return errors.New("stored message: damaged")
	}
	hdr := r.take(int(binary.BigEndian.Uint32(hdrLen)))
	if r.short || len(r.rest) > MaxBody || !utf8.Valid(r.rest) {
		return errors.New("stored message: damaged")
	}
	h, err := DecodeHeader(hdr)
	if err != nil {
		return fmt.Errorf("stored message: %w", err)
	}
	*m = Message{
		header: h, rawHeader: append([]byte(nil), hdr...), body: append([]byte(nil), r.rest...), group: group == 1,
		seq: binary.BigEndian.Uint64(seq), opened: crypto.PublicKey(opened), trust: trust, name: name, label: label,
	}
	return nil
}

// rowReader takes pieces off a row; short tells that one was missing.
type rowReader struct {
	rest  []byte
	short bool
}

func (r *rowReader) take(n int) []byte {
	if n > len(r.rest) {
		r.short = true
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *rowReader) byte() byte { return r.take(1)[0] }

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// storedTrusts are the levels that an opened message can have, by their byte on disk.
var storedTrusts = [...]Trust{1: TrustVerified, 2: TrustInvited}

func trustByte(t Trust) (byte, bool) {
	for i, stored := range storedTrusts {
		if i > 0 && stored == t {
			return byte(i), true
		}
	}
	return 0, false
}

func byteTrust(b byte) (Trust, bool) {
	if b == 0 || int(b) >= len(storedTrusts) {
		return "", false
	}
	return storedTrusts[b], true
}
