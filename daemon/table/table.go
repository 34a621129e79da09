// Package table is the layout of daemon.db: its buckets, the form of their keys, and the rows in JSON.
// Every package of the daemon that stores something builds on it. It also keeps what identifies the
// file itself: the epoch of its message numbers, and the instance that tells a home from a copy of it.
package table

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"github.com/claudemesh/claudemesh/ask"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Buckets of daemon.db. Keys that belong to one mesh begin with the 32 bytes of its id; numbers are big-endian.
const (
	State       = "state"    // of the whole file: epoch, instance
	Trust       = "trust"    // mesh ‖ statement id → statement bytes
	Pins        = "pins"     // mesh ‖ 'o' ‖ n → id of the accepted owner statement · mesh ‖ 'n' ‖ name → key · mesh ‖ 'p' ‖ key → verified in person · mesh ‖ 'g' ‖ key → what it may
	Known       = "known"    // mesh ‖ 's' ‖ key → newest session statement · mesh ‖ 'k' ‖ key → newest apikey statement · mesh ‖ 'e' ‖ key → invite and enrolment
	Sessions    = "sessions" // Claude session id → seed of its key, for all meshes
	OwnSessions = "own"      // mesh ‖ session key → session that this machine speaks for
	Outbox      = "outbox"   // mesh ‖ row → outRow
	Sealed      = "sealed"   // mesh ‖ row → sealedRow, until nobody needs it again
	OutboxIDs   = "outids"   // mesh ‖ 'c' ‖ client id → row · mesh ‖ 'm' ‖ message id → row
	Numbers     = "numbers"  // mesh ‖ 'o' ‖ from ‖ recipient ‖ prio ‖ epoch → last number given · mesh ‖ 'i' ‖ from ‖ own ‖ prio ‖ epoch → arrivals
	Inbox       = "inbox"    // received sequence → inbox.Row, see inbox.PutRow
	InboxIDs    = "inids"    // client id 00 mesh sequence → nothing; message id likewise
	Replay      = "replay"   // mesh ‖ own key ‖ sender member ‖ id → forget after, Unix ms
	Held        = "held"     // mesh ‖ sequence → push frame that waits for a certificate
	Aside       = "aside"    // mesh ‖ sequence → frame that this daemon could not apply
	Receipts    = "receipts" // mesh ‖ sequence → receipt to be sent
	Invites     = "invites"  // mesh ‖ invite id → inviteRow
	Events      = "events"   // event sequence → protocol.Event
	Waiting     = "waiting"  // received sequence → inbox.Waiting, until the message was shown
	Guard       = "guard"    // session key ‖ member key → guardRow, within the hour
	Accepted    = "accepted" // mesh ‖ member key → when the user accepted its messages, Unix ms
	Files       = "files"    // blob id(16) → spool.File that waits to leave
	Shares      = "shares"   // mesh ‖ class ‖ key of a member or link → messages and bytes of his that nobody saw, 8 bytes each
)

// buckets lists all that Open creates.
var buckets = []string{
	State, Trust, Pins, Known, Sessions, OwnSessions, Outbox, Sealed, OutboxIDs,
	Numbers, Inbox, InboxIDs, Replay, Held, Aside, Receipts, Invites, Events,
	Waiting, Guard, Accepted, Shares, Files, ask.Bucket,
}

// migrations[i] brings daemon.db from schema i to i+1.
var migrations = []func(*bolt.Tx) error{
	func(*bolt.Tx) error { return nil }, // the first schema: buckets are created by name
}

// Open opens or creates daemon.db, which is locked until it is closed: the lock is what makes a daemon the only one.
func Open(path string) (*store.DB, error) {
	db, err := store.Open(path, store.Options{Migrations: migrations, Buckets: buckets})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *store.Tx) error {
		if err := tx.Put(State, []byte(stateWhere), []byte(filepath.Dir(path))); err != nil {
			return err
		}
		for _, k := range []string{stateEpoch, stateInstance} {
			if tx.Get(State, []byte(k)) != nil {
				continue
			}
			if err := tx.Put(State, []byte(k), crypto.RandomBytes(8)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("prepare %s: %w", path, err)
	}
	return db, nil
}

const (
	stateEpoch    = "epoch"    // of the numbers that we give to messages
	stateInstance = "instance" // with the machine's id and the directory, tells this home from a copy of it
	stateWhere    = "where"    // the directory of the file, as it was opened
	stateHost     = "host"     // the instance that the user accepted as the place of these keys, or absent
)

// RowKey is mesh ‖ seq.
func RowKey(mesh protocol.MeshID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(mesh), seq)
}

// Key is mesh ‖ parts.
func Key(mesh protocol.MeshID, parts ...[]byte) []byte {
	k := []byte(mesh)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

func U64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// PutJSON stores v under key.
func PutJSON(tx *store.Tx, bucket string, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a row of %s: %w", bucket, err)
	}
	return tx.Put(bucket, key, b)
}

// GetJSON reads the row under key into v and reports whether there is one.
func GetJSON(tx *store.Tx, bucket string, key []byte, v any) (bool, error) {
	b := tx.Peek(bucket, key)
	if b == nil {
		return false, nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("decode a row of %s: %w", bucket, err)
	}
	return true, nil
}

func ParseU64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
