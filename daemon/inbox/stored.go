package inbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/store"
)

// A row on disk is the length of its JSON (4 bytes, big-endian), the JSON, and the message as it
// is. So a list does not pay for the texts of the messages that it passes over.

var errShortRow = errors.New("the row is cut off")

// PutRow stores a row under its number.
func PutRow(tx *store.Tx, key []byte, row *Row) error {
	head, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encode a row of %s: %w", table.Inbox, err)
	}
	b := make([]byte, 0, 4+len(head)+len(row.Message))
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(head))), head...)
	return tx.Put(table.Inbox, key, append(b, row.Message...))
}

// ParseRow reads a stored row, of which it keeps nothing.
func ParseRow(stored []byte) (*Row, error) {
	if len(stored) < 4 {
		return nil, errShortRow
	}
	n := uint64(binary.BigEndian.Uint32(stored))
	rest := stored[4:]
	if n > uint64(len(rest)) {
		return nil, errShortRow
	}
	row := new(Row)
	if err := json.Unmarshal(rest[:n], row); err != nil {
		return nil, err
	}
	row.Message = bytes.Clone(rest[n:])
	return row, nil
}
