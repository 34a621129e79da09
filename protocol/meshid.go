package protocol

import (
	"encoding/binary"
	"math/bits"

	"github.com/claudemesh/claudemesh/crypto"
)

// MeshID names a mesh and commits to its charter, and so to its owner's key: who knows the id knows the owner.
type MeshID string

const idLength = 32 // characters of a mesh, member or message id

// Valid reports whether m is 32 characters of 0-9, A-Z and a-z.
func (m MeshID) Valid() bool {
	return len(m) == idLength && only(string(m), func(c byte) bool { return lowerOrDigit(c) || c >= 'A' && c <= 'Z' })
}

// MemberID returns the id by which the broker names a member in answers to join and over HTTP: 32 characters of base62,
// derived from mesh and member key. It proves nothing.
func MemberID(mesh MeshID, key crypto.PublicKey) string {
	id := hashID(EncodeBlock("member-id", []byte(mesh), key[:]))
	return string(id[:])
}

// MessageID returns the broker's id of a message, 32 characters of base62. The same message sent again has the same id.
func MessageID(mesh MeshID, sender crypto.PublicKey, clientID string) string {
	id := AppendMessageID(nil, mesh, sender, []byte(clientID))
	return string(id)
}

// AppendMessageID appends MessageID to dst. It allocates nothing else.
func AppendMessageID(dst []byte, mesh MeshID, sender crypto.PublicKey, clientID []byte) []byte {
	var block [192]byte // on the stack; longer ids than a client may have go to the heap
	id := hashID(appendBlock(block[:0], "message-id", []byte(mesh), sender[:], clientID))
	return append(dst, id[:]...)
}

// meshIDOf returns the id of the mesh whose charter is block.
func meshIDOf(block []byte) MeshID {
	id := hashID(block)
	return MeshID(id[:])
}

// hashID returns the first 23 bytes of BLAKE2b-256(b), as a big-endian number in base62, padded to 32 digits. 184 bits
// always fit.
func hashID(b []byte) [idLength]byte {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	h := crypto.Hash(b)
	var top [8]byte
	copy(top[1:], h[:7])
	n := [...]uint64{binary.BigEndian.Uint64(top[:]), binary.BigEndian.Uint64(h[7:]), binary.BigEndian.Uint64(h[15:])}
	var id [idLength]byte
	for i := idLength; i > 0; {
		var rest uint64
		for j := range n {
			n[j], rest = bits.Div64(rest, n[j], base62Step)
		}
		for k := 0; k < 10 && i > 0; k++ {
			i--
			id[i] = digits[rest%62]
			rest /= 62
		}
	}
	return id
}

// base62Step is 62 to the 10th: ten digits are taken at once.
const base62Step = 839299365868340224
