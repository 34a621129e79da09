package crypto

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
)

// PublicKey is an ed25519 public key: the name of a member, session, link or owner.
// Any 32 bytes fit; Valid tells whether they are a key that may join a mesh.
type PublicKey [KeySize]byte

// BoxPublicKey is an x25519 public key, usually a converted PublicKey.
type BoxPublicKey [KeySize]byte

// Signature is a detached ed25519 signature, R ‖ S.
type Signature [SignatureSize]byte

// Nonce is used once per Key. Random ones do not meet in practice: it has 192 bits.
type Nonce [NonceSize]byte

// ParsePublicKey reads exactly 64 lower-case hex digits. Errors wrap ErrKey. It
// does not ask whether the key is Valid.
func ParsePublicKey(s string) (PublicKey, error) {
	var p PublicKey
	if !decodeHex(p[:], s) {
		return PublicKey{}, fmt.Errorf("public key is not 64 lower-case hex digits: %w", ErrKey)
	}
	return p, nil
}

// String returns 64 lower-case hex digits.
func (p PublicKey) String() string { return hex.EncodeToString(p[:]) }

// Short returns the first 8 hex digits, for people.
func (p PublicKey) Short() string { return hex.EncodeToString(p[:4]) }

// IsZero reports whether p is the zero value, which is no key.
func (p PublicKey) IsZero() bool { return p == PublicKey{} }

// MarshalText returns what String does.
func (p PublicKey) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, p[:]), nil
}

// UnmarshalText reads what ParsePublicKey does and leaves p alone on an error.
func (p *PublicKey) UnmarshalText(text []byte) error {
	parsed, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// Convert returns the x25519 key of p (crypto_sign_ed25519_pk_to_curve25519). It
// refuses with ErrKey what libsodium refuses (small order, off the curve, outside
// the prime-order subgroup) and second encodings of a key as well.
func (p PublicKey) Convert() (BoxPublicKey, error) {
	if !canonicalPoint(p[:]) || smallOrder(p[:]) {
		return BoxPublicKey{}, ErrKey
	}
	box, ok := active.convert(&p)
	if !ok {
		return BoxPublicKey{}, ErrKey
	}
	return box, nil
}

// Valid reports whether p may be the key of a member, session or API key: whether
// it converts. It costs as much as a Verify.
func (p PublicKey) Valid() bool {
	_, err := p.Convert()
	return err == nil
}

// Verify reports whether sig is pub's signature over msg (RFC 8032, by the equation
// without the cofactor). It refuses keys and R of small order or not canonically
// encoded, and S not below the group order: no signature fits two messages or has a
// second form, and every build gives the same verdict.
func Verify(pub PublicKey, msg []byte, sig Signature) bool {
	r := sig[:KeySize]
	if !canonicalPoint(pub[:]) || smallOrder(pub[:]) || !canonicalPoint(r) || smallOrder(r) {
		return false
	}
	return ed25519.Verify(pub[:], msg, sig[:])
}

// decodeHex fills dst from s, which must be lower case and of the exact length, so
// that a value has one spelling.
func decodeHex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}
