package files

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"filippo.io/age"

	"github.com/claudemesh/claudemesh/protocol"
)

// Sealed is what Seal learned of a content on its way.
type Sealed struct {
	Key    string // the age identity that opens it
	Size   int64  // of the content
	SHA256 [32]byte
	Cipher int64 // bytes that were written
}

// Seal encrypts src to an identity made for it alone and writes the ciphertext to dst, in one pass and constant memory. A content
// beyond protocol.MaxFileSize is refused with protocol.CodePayloadTooLarge; what was written by then is worth nothing.
func Seal(dst io.Writer, src io.Reader) (Sealed, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return Sealed{}, fmt.Errorf("make the key of a file: %w", err)
	}
	out := &counter{w: dst}
	enc, err := age.Encrypt(out, id.Recipient())
	if err != nil {
		return Sealed{}, fmt.Errorf("encrypt a file: %w", err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(enc, sum), io.LimitReader(src, protocol.MaxFileSize+1))
	if err != nil {
		return Sealed{}, fmt.Errorf("encrypt a file: %w", err)
	}
	if n > protocol.MaxFileSize {
		return Sealed{}, TooLarge()
	}
	if err := enc.Close(); err != nil {
		return Sealed{}, fmt.Errorf("encrypt a file: %w", err)
	}
	return Sealed{Key: id.String(), Size: n, SHA256: [32]byte(sum.Sum(nil)), Cipher: out.n}, nil
}

// TooLarge is the refusal of a file beyond protocol.MaxFileSize.
func TooLarge() *protocol.Error {
	return protocol.Refuse(protocol.CodePayloadTooLarge, "the file is larger than %d MiB", protocol.MaxFileSize>>20).
		WithHint("split it (split -b 90M), or share it in another way and send where it lies")
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ErrContent means that a content is not the one that its sender signed, or its key does not open it.
var ErrContent = errors.New("the content is not what the sender signed")

// Open decrypts a ciphertext and checks the content against what its sender signed. The reader ends with io.EOF only when size and
// hash are right; until then nothing of it may be believed. It never gives more than size bytes.
func Open(src io.Reader, ref *protocol.FileRef) (io.Reader, error) {
	id, err := age.ParseX25519Identity(ref.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: malformed key", ErrContent)
	}
	plain, err := age.Decrypt(src, id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return &opened{src: plain, ref: ref, sum: sha256.New()}, nil
}

type opened struct {
	src io.Reader
	ref *protocol.FileRef
	sum hash.Hash
	n   int64
}

func (o *opened) Read(p []byte) (int, error) {
	n, err := o.src.Read(p)
	if o.n+int64(n) > o.ref.Size {
		return 0, fmt.Errorf("%w: it is longer than %d bytes", ErrContent, o.ref.Size)
	}
	o.n += int64(n)
	o.sum.Write(p[:n])
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		return 0, fmt.Errorf("%w: %w", ErrContent, err)
	case o.n != o.ref.Size:
		return 0, fmt.Errorf("%w: it has %d bytes instead of %d", ErrContent, o.n, o.ref.Size)
	case [32]byte(o.sum.Sum(nil)) != o.ref.SHA256:
		return 0, fmt.Errorf("%w: its hash is another one", ErrContent)
	}
	return n, io.EOF
}
