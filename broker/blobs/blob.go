package blobs

import (
	"encoding/hex"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// Name is a blob's name: ids of two uploaders have nothing to do with each other.
type Name struct {
	Mesh     protocol.MeshID
	Uploader crypto.PublicKey
	Blob     protocol.BlobID
}

func (n Name) key() []byte {
	return append(append([]byte(n.Mesh), n.Uploader[:]...), n.Blob[:]...)
}

func nameOf(key []byte) (n Name, ok bool) {
	const mesh = 32
	if len(key) != mesh+len(n.Uploader)+len(n.Blob) {
		return n, false
	}
	n.Mesh = protocol.MeshID(key[:mesh])
	copy(n.Uploader[:], key[mesh:])
	copy(n.Blob[:], key[mesh+len(n.Uploader):])
	return n, true
}

// file is the name of the content's file: of one case, since not every file system tells cases apart.
func (n Name) file() string {
	sum := crypto.Hash(n.key())
	return hex.EncodeToString(sum[:])
}

// row is a blob on disk.
type row struct {
	Size    int64              `json:"size"`
	Offset  int64              `json:"offset"` // bytes that are on the disk
	Touched int64              `json:"touched"`
	Readers []crypto.PublicKey `json:"readers"`
}

func (r *row) complete() bool { return r.Offset == r.Size }

// same reports whether r is what a repeat of the same reservation asks for.
func (r *row) same(size int64, readers []crypto.PublicKey) bool {
	return r.Size == size && slices.Equal(r.Readers, readers)
}

// blob is a row in memory, with who works on it.
type blob struct {
	row
	busy bool // a part is written, or the blob goes
}
