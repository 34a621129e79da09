// Package crypto provides the keys, signatures and boxes of a mesh. It does no I/O and reads no
// clock. Its output equals libsodium's, byte for byte.
//
// A member, session or API key is an Ed25519 key. The same key is converted to X25519 to open boxes.
// So two key holders share one symmetric key, and a message is a secretbox under it:
//
//	PrivateKey ── Sign ──────────────────────────▶ Signature ── Verify
//	    │ convert
//	    ▼
//	 x25519 secret ─┐
//	                ├─ X25519, HSalsa20 ─▶ Key ── Seal / Open (XSalsa20-Poly1305)
//	 peer's x25519 ─┘   (Shared takes 35 µs half cached: keep the Key in a SharedCache)
//
// Two backends compute the same bytes and give the same verdicts. nacl.go uses the standard library
// and x/crypto and is always compiled. sodium.go uses the system's libsodium, under the build tags
// cgo and libsodium. Both refuse keys and signature points that have small order or a second
// encoding. Both refuse Diffie-Hellman results that anybody could compute.
//
// Values of secret types redact themselves under the verbs of package fmt, in log/slog, in text and
// in JSON. A PrivateKey and a SharedCache also redact themselves in unexported fields, which fmt
// prints without calling methods. A Key does not do so there, nor under %p and %w (which go vet
// refuses). A struct that holds a Key needs its own Format.
package crypto

import "errors"

// Sizes in bytes. Overhead is what Seal and SealAEAD add to a plaintext.
const (
	KeySize       = 32
	SeedSize      = 32
	SignatureSize = 64
	NonceSize     = 24
	Overhead      = 16
)

// anonymousOverhead is what SealAnonymous adds: an ephemeral key and Overhead.
const anonymousOverhead = KeySize + Overhead

var (
	// ErrKey reports an unusable key: malformed, not canonical, of small order, off the curve or
	// outside the prime-order subgroup.
	ErrKey = errors.New("unusable key")

	// ErrOpen reports a box that does not open: too short, forged, or sealed under another key,
	// nonce or additional data. It never says which.
	ErrOpen = errors.New("box does not open")
)
