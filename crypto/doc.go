// Package crypto holds the keys, signatures and boxes of a mesh: bytes in, bytes
// out, without I/O and without a clock. Everything is libsodium's, byte for byte.
//
// A member, session or API key is an ed25519 key. The same key opens boxes after
// its conversion to x25519, so two keys that know each other share one symmetric
// key, and a message is a secretbox under it:
//
//	PrivateKey ── Sign ──────────────────────────▶ Signature ── Verify
//	    │ convert
//	    ▼
//	 x25519 secret ─┐
//	                ├─ X25519, HSalsa20 ─▶ Key ── Seal / Open (XSalsa20-Poly1305)
//	 peer's x25519 ─┘   (Shared: 35 µs cached half-way, so keep it in a SharedCache)
//
// Two backends compute the same bytes and give the same verdicts: nacl.go on the
// standard library and x/crypto, always compiled, and sodium.go on the system's
// libsodium, under the build tags cgo and libsodium. Both refuse keys and signature
// points of small order or in a second encoding, and Diffie-Hellman results that
// every stranger could compute.
//
// Values of secret types redact themselves under the verbs of package fmt, in
// log/slog, in text and in JSON; a PrivateKey and a SharedCache also where fmt reads
// them without asking, in unexported fields. A Key does not there, nor under %p and
// %w (which go vet refuses): a struct that keeps one has its own Format.
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
	// ErrKey reports a key that cannot be used: malformed, in a second encoding, of
	// small order, off the curve or outside the prime-order subgroup.
	ErrKey = errors.New("unusable key")

	// ErrOpen reports a box that does not open: too short, forged, or sealed under
	// another key, nonce or additional data. Which of them is never told.
	ErrOpen = errors.New("box does not open")
)
