package queue

import (
	"encoding/binary"
	"fmt"

	"github.com/claudemesh/claudemesh/store"
)

// Journal payloads, integers little-endian:
//
//	put    1 class(1) expires(8) body length(4) n(4) n×{recipient(32) header length(4)} headers body
//	ack    2 class(1) recipient(32) lsn(8)
//	probe  3
const (
	kindPut   = 1
	kindAck   = 2
	kindProbe = 3

	putFixed  = 1 + 1 + 8 + 4 + 4
	putTarget = 32 + 4
	ackSize   = 1 + 1 + 32 + 8
)

func appendPut(b []byte, m *Message) []byte {
	b = append(b, kindPut, byte(m.Class))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Expires))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Body)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.To)))
	for i := range m.To {
		b = append(b, m.To[i][:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Headers[i])))
	}
	for _, h := range m.Headers {
		b = append(b, h...)
	}
	return append(b, m.Body...)
}

// parsePut is the inverse; the message's slices point into b.
func parsePut(b []byte) (m Message, err error) {
	if len(b) < putFixed || Class(b[1]) >= classes {
		return m, fmt.Errorf("put record of %d bytes: %w", len(b), store.ErrCorrupt)
	}
	m.Class = Class(b[1])
	m.Expires = int64(binary.LittleEndian.Uint64(b[2:]))
	body := uint64(binary.LittleEndian.Uint32(b[10:]))
	n := uint64(binary.LittleEndian.Uint32(b[14:]))
	if n == 0 || n > uint64(len(b)-putFixed)/putTarget {
		return m, fmt.Errorf("put record for %d recipients: %w", n, store.ErrCorrupt)
	}
	table, rest := b[putFixed:putFixed+n*putTarget], b[putFixed+n*putTarget:]
	for ; len(table) > 0; table = table[putTarget:] {
		size := uint64(binary.LittleEndian.Uint32(table[32:]))
		if size > uint64(len(rest)) {
			return m, fmt.Errorf("put record, header of %d bytes: %w", size, store.ErrCorrupt)
		}
		m.To = append(m.To, Recipient(table[:32]))
		m.Headers = append(m.Headers, rest[:size:size])
		rest = rest[size:]
	}
	if body != uint64(len(rest)) {
		return m, fmt.Errorf("put record, body of %d bytes, not %d: %w", len(rest), body, store.ErrCorrupt)
	}
	m.Body = rest
	return m, nil
}

// spans tells where the headers begin and where the body lies in the payload.
func (m *Message) spans() (headers uint32, body span) {
	headers = uint32(putFixed + putTarget*len(m.To))
	body = span{headers, uint32(len(m.Body))}
	for _, h := range m.Headers {
		body.off += uint32(len(h))
	}
	return headers, body
}

func encodeAck(to Recipient, class Class, lsn uint64) (b [ackSize]byte) {
	b[0], b[1] = kindAck, byte(class)
	copy(b[2:], to[:])
	binary.LittleEndian.PutUint64(b[34:], lsn)
	return b
}

func parseAck(b []byte) (to Recipient, class Class, lsn uint64, err error) {
	if len(b) != ackSize || Class(b[1]) >= classes {
		return to, 0, 0, fmt.Errorf("ack record of %d bytes: %w", len(b), store.ErrCorrupt)
	}
	return Recipient(b[2:34]), Class(b[1]), binary.LittleEndian.Uint64(b[34:]), nil
}

// probe is the record of Ready.
type probe chan error

func (p probe) AppendTo(b []byte) []byte                        { return append(b, kindProbe) }
func (p probe) Committed(_ uint64, _ store.Position, err error) { p <- err }
