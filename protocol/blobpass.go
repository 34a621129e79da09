package protocol

import (
	"encoding/hex"

	"github.com/claudemesh/claudemesh/crypto"
)

// BlobID names a blob among those of its uploader. It is random, so it says nothing of the file.
type BlobID [16]byte

// NewBlobID returns a random id.
func NewBlobID() BlobID { return BlobID(crypto.RandomBytes(16)) }

// String returns 32 lower-case hex digits.
func (id BlobID) String() string { return hex.EncodeToString(id[:]) }

// ParseBlobID reads exactly what String gives.
func ParseBlobID(s string) (BlobID, error) {
	var id BlobID
	if len(s) != 2*len(id) || !only(s, isHexByte) {
		return id, Refuse(CodeInvalid, "a blob id is 32 lower-case hex digits")
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err
}

// What a BlobPass allows.
const (
	BlobCreate = "create" // reserve the room of a blob and name its readers: JSON is a BlobPlan
	BlobPut    = "put"    // append to it
	BlobGet    = "get"    // read it
	BlobDelete = "delete"
)

// BlobPass lets a member use one blob at one broker for a minute. Signed by the member. It travels as
// `Authorization: Claudemesh <statement>`, and for BlobCreate in the body.
type BlobPass struct {
	Mesh     MeshID
	Member   crypto.PublicKey
	Host     string           // host[:port] of the broker as dialled: another broker cannot use it
	Uploader crypto.PublicKey // whose blob: with the id its name
	Blob     BlobID
	At       int64 // Unix ms
	Verb     string
	JSON     []byte // arguments, `{}` for none
}

func (*BlobPass) kind() string                  { return KindBlobPass }
func (b *BlobPass) signers() []crypto.PublicKey { return []crypto.PublicKey{b.Member} }
func (b *BlobPass) visit(f *fields) {
	f.mesh(&b.Mesh)
	f.key("member", &b.Member)
	f.text("broker host", &b.Host, ruleHost)
	f.key("uploader", &b.Uploader)
	f.bytes("blob", b.Blob[:])
	f.millis("at", &b.At)
	f.text("verb", &b.Verb, ruleReason)
	f.json("arguments", &b.JSON)
	f.usable("member", &b.Member)
}

// BlobPlan is what BlobCreate asks for. Both are fixed for the life of the blob.
type BlobPlan struct {
	Size    int64    `json:"size"`    // bytes of the ciphertext
	Readers []string `json:"readers"` // member keys in hex that may read it
}

// BlobRequest is the body of POST /api/v1/blobs: a BlobPass for BlobCreate, as text.
type BlobRequest struct {
	Pass string `json:"pass"`
}

// BlobReply answers it, and each part of an upload.
type BlobReply struct {
	OK       bool  `json:"ok"`
	Size     int64 `json:"size"`
	Offset   int64 `json:"offset"` // bytes that are on the broker's disk: the next part begins here
	Complete bool  `json:"complete"`
	Expires  int64 `json:"expires"` // Unix ms
}

// BlobScheme is the scheme of the Authorization header that carries a BlobPass.
const BlobScheme = "Claudemesh "
