package protocol

import (
	"math/big"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
)

// MeshID names a mesh and commits to its charter, and so to its owner's key: who knows the id knows the owner.
type MeshID string

const idLength = 32 // characters of a mesh, member or message id

// Valid reports whether m is 32 characters of 0-9, A-Z and a-z.
func (m MeshID) Valid() bool {
	return len(m) == idLength && only(string(m), func(c byte) bool { return lowerOrDigit(c) || c >= 'A' && c <= 'Z' })
}

// MemberID returns the id by which the broker names a member where the original clients want one: 32 characters of base62,
// derived from mesh and member key. It proves nothing.
func MemberID(mesh MeshID, key crypto.PublicKey) string {
	return hashID(EncodeBlock("member-id", []byte(mesh), key[:]))
}

// MessageID returns the broker's id of a message, 32 characters of base62. The same message sent again has the same id.
func MessageID(mesh MeshID, sender crypto.PublicKey, clientID string) string {
	return hashID(EncodeBlock("message-id", []byte(mesh), sender[:], []byte(clientID)))
}

// meshIDOf returns the id of the mesh whose charter is block.
func meshIDOf(block []byte) MeshID { return MeshID(hashID(block)) }

// hashID returns the first 23 bytes of BLAKE2b-256(b), as a big-endian number in base62, padded to 32 digits. 184 bits
// always fit.
func hashID(b []byte) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	h := crypto.Hash(b)
	n, base, digit := new(big.Int).SetBytes(h[:23]), big.NewInt(int64(len(digits))), new(big.Int)
	id := make([]byte, 0, idLength)
	for range idLength {
		n.DivMod(n, base, digit)
		id = append(id, digits[digit.Int64()])
	}
	slices.Reverse(id)
	return string(id)
}
