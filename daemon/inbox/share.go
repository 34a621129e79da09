package inbox

import (
	"encoding/binary"
	"fmt"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Classes of those whose mail is counted, the byte behind the mesh in a key of table.Shares. The same byte in upper case, and
// no key behind it, is for all of the class in that mesh; the key "*" for what nobody saw in all meshes.
const (
	ClassMember  = 'm' // key: the member's
	ClassLink    = 'l' // key: the link's, for everybody who came by it and is not admitted
	ClassUnknown = 'u' // key: of a member of whom no certificate is here
)

var everybody = []byte("*")

// Share is what is counted of somebody.
type Share struct {
	Messages uint64
	Bytes    uint64
}

// ShareKey is where somebody is counted.
func ShareKey(mesh protocol.MeshID, class byte, key crypto.PublicKey) []byte {
	return table.Key(mesh, []byte{class}, key[:])
}

// Together is where all of the class are counted, nil for members: they share nothing but the whole.
func Together(key []byte) []byte {
	n := len(key) - len(crypto.PublicKey{})
	switch class := key[n-1]; class {
	case ClassLink, ClassUnknown:
		return append(append([]byte(nil), key[:n-1]...), class-'a'+'A')
	}
	return nil
}

// Quotas are the limits of what is counted.
type Quotas struct {
	Member, Link, Invited, Unknown, Held Share
	Inbox                                uint64 // bytes
}

// DefaultQuotas are those of limits.go.
func DefaultQuotas() Quotas {
	return Quotas{
		Member: Share{UnseenMessages, UnseenBytes}, Link: Share{LinkMessages, LinkBytes}, Invited: Share{InvitedMessages, InvitedBytes},
		Unknown: Share{UnknownMessages, UnknownBytes}, Held: Share{HeldMessages, HeldBytes}, Inbox: inboxBytes,
	}
}

// of is what may be counted under a key, and of all of its class, and in words whose it is.
func (q *Quotas) of(key []byte) (own, all Share, whose string) {
	switch key[len(key)-len(crypto.PublicKey{})-1] {
	case ClassLink:
		return q.Link, q.Invited, "of those who came by your link and are not admitted"
	case ClassUnknown:
		return q.Unknown, q.Held, "of yours, and nobody here has your certificate"
	}
	return q.Member, Share{}, "of yours"
}

// ReadShare is what is counted under a key.
func ReadShare(tx *store.Tx, key []byte) (s Share) {
	if b := tx.Peek(table.Shares, key); len(b) == 16 {
		s.Messages, s.Bytes = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	}
	return s
}

func (s Share) exceeds(most Share, size int) bool {
	return s.Messages >= most.Messages || s.Bytes+uint64(size) > most.Bytes
}

// Full says why no message of that many bytes is kept for whom key counts, or "".
func (q *Quotas) Full(tx *store.Tx, key []byte, size int) string {
	own, all, whose := q.of(key)
	if s := ReadShare(tx, key); s.exceeds(own, size) {
		return fmt.Sprintf("%d messages %s wait here, %s in all: there may be %d and %s", s.Messages, whose, inKiB(s.Bytes), own.Messages, inKiB(own.Bytes))
	}
	if k := Together(key); k != nil {
		if s := ReadShare(tx, k); s.exceeds(all, size) {
			return fmt.Sprintf("%d messages of people who are not admitted wait here, %s in all: there may be %d and %s", s.Messages, inKiB(s.Bytes), all.Messages, inKiB(all.Bytes))
		}
	}
	if s := ReadShare(tx, everybody); s.Bytes+uint64(size) > q.Inbox {
		return fmt.Sprintf("the inbox is full: %d messages that nobody saw, %s", s.Messages, inKiB(s.Bytes))
	}
	return ""
}

func inKiB(n uint64) string { return fmt.Sprintf("%d KiB", n>>10) }

// AddShare counts n messages, or takes them away, wherever key is counted.
func AddShare(tx *store.Tx, key []byte, n, bytes int) error {
	for _, k := range [][]byte{key, Together(key), everybody} {
		if k == nil {
			continue
		}
		s := ReadShare(tx, k)
		s.Messages, s.Bytes = added(s.Messages, n), added(s.Bytes, bytes)
		if s.Messages == 0 {
			s.Bytes = 0 // what a damaged row left
		}
		if err := putShare(tx, k, s); err != nil {
			return err
		}
	}
	return nil
}

func putShare(tx *store.Tx, key []byte, s Share) error {
	if s == (Share{}) {
		return tx.Delete(table.Shares, key)
	}
	b := binary.BigEndian.AppendUint64(nil, s.Messages)
	return tx.Put(table.Shares, key, binary.BigEndian.AppendUint64(b, s.Bytes))
}

func added(n uint64, by int) uint64 {
	if by < 0 && uint64(-by) > n {
		return 0
	}
	return n + uint64(by)
}
