package queue

import (
	"encoding/binary"
	"fmt"

	"github.com/claudemesh/claudemesh/store"
)

// Buckets, integers big-endian:
//
//	q      recipient(32) class(1) lsn(8) → expires(8) header length(4) body length(4) shared(1) header [body]
//	b      lsn(8)                        → rows in q that share the body(4)
//	b      lsn(8) 'b'                    → the body
//	qmeta  flushed                       → F(8)
//	qmeta  version                       → 1
const (
	rowBucket  = "q"
	bodyBucket = "b"
	metaBucket = "qmeta"
	version    = 1

	laneKeySize   = 32 + 1
	keySize       = laneKeySize + 8
	rowHeaderSize = 8 + 4 + 4 + 1
)

var (
	flushedKey = []byte("flushed")
	versionKey = []byte("version")
)

type rowKey [keySize]byte

func makeKey(to Recipient, class Class, lsn uint64) (k rowKey) {
	copy(k[:], to[:])
	k[32] = byte(class)
	binary.BigEndian.PutUint64(k[33:], lsn)
	return k
}

func parseKey(k []byte) (to Recipient, class Class, lsn uint64, err error) {
	if len(k) != keySize || Class(k[32]) >= classes {
		return to, 0, 0, fmt.Errorf("row key %x: %w", k, store.ErrCorrupt)
	}
	return Recipient(k[:32]), Class(k[32]), binary.BigEndian.Uint64(k[33:]), nil
}

type rowHeader struct {
	expires      int64
	header, body uint32 // bytes
	shared       bool
}

func (h rowHeader) size() int { return int(h.header) + int(h.body) }

func appendRowHeader(b []byte, h rowHeader) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(h.expires))
	b = binary.BigEndian.AppendUint32(b, h.header)
	b = binary.BigEndian.AppendUint32(b, h.body)
	if h.shared {
		return append(b, 1)
	}
	return append(b, 0)
}

func parseRowHeader(v []byte) (h rowHeader, err error) {
	if len(v) < rowHeaderSize {
		return h, fmt.Errorf("row of %d bytes: %w", len(v), store.ErrCorrupt)
	}
	h.expires = int64(binary.BigEndian.Uint64(v))
	h.header = binary.BigEndian.Uint32(v[8:])
	h.body = binary.BigEndian.Uint32(v[12:])
	h.shared = v[16] != 0
	want := uint64(rowHeaderSize) + uint64(h.header)
	if !h.shared {
		want += uint64(h.body)
	}
	if uint64(len(v)) != want {
		return h, fmt.Errorf("row of %d bytes, not %d: %w", len(v), want, store.ErrCorrupt)
	}
	return h, nil
}

// readRow copies a row, and its body if that is shared.
func readRow(tx *store.Tx, class Class, lsn uint64, v []byte) (Row, error) {
	h, err := parseRowHeader(v)
	if err != nil {
		return Row{}, err
	}
	data := make([]byte, 0, h.size())
	data = append(data, v[rowHeaderSize:]...)
	if h.shared {
		body := tx.Peek(bodyBucket, bodyKey(lsn))
		if len(body) != int(h.body) {
			return Row{}, fmt.Errorf("row %d shares a body of %d bytes, not %d: %w", lsn, len(body), h.body, store.ErrCorrupt)
		}
		data = append(data, body...)
	}
	return Row{
		LSN: lsn, Class: class, Expires: h.expires, Size: h.size(),
		Header: data[:h.header:h.header], Body: data[h.header:],
	}, nil
}

func countKey(lsn uint64) []byte { return binary.BigEndian.AppendUint64(nil, lsn) }
func bodyKey(lsn uint64) []byte  { return append(countKey(lsn), 'b') }

// deleteRow removes a row, and the shared body with the last of its rows.
func deleteRow(tx *store.Tx, to Recipient, class Class, lsn uint64) error {
	k := makeKey(to, class, lsn)
	v := tx.Peek(rowBucket, k[:])
	if v == nil {
		return nil
	}
	h, err := parseRowHeader(v)
	if err != nil {
		return err
	}
	if err := tx.Delete(rowBucket, k[:]); err != nil || !h.shared {
		return err
	}
	count := tx.Peek(bodyBucket, countKey(lsn))
	if len(count) != 4 {
		return fmt.Errorf("row %d shares a body that is not there: %w", lsn, store.ErrCorrupt)
	}
	if n := binary.BigEndian.Uint32(count); n > 1 {
		return tx.Put(bodyBucket, countKey(lsn), binary.BigEndian.AppendUint32(nil, n-1))
	}
	if err := tx.Delete(bodyBucket, countKey(lsn)); err != nil {
		return err
	}
	return tx.Delete(bodyBucket, bodyKey(lsn))
}
