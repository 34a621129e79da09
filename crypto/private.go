package crypto

import (
	"crypto/ecdh"
	"encoding/hex"
	"fmt"
)

// PrivateKey signs as an ed25519 key and opens boxes as the x25519 key converted
// from it. It is made by GenerateKey, KeyFromSeed or ParsePrivateKey, never changes
// and may be used concurrently.
type PrivateKey struct {
	redacted
	parts *hiddenParts
}

// hiddenParts is a second pointer between fmt and the secrets. Inside a struct of
// another package fmt reads a PrivateKey without asking it, and follows one pointer
// under a verb that does not suit pointers, such as %s.
type hiddenParts struct{ *privateParts }

type privateParts struct {
	signing [SeedSize + KeySize]byte // seed ‖ public, libsodium's secret key
	box     *ecdh.PrivateKey         // parsed once: parsing costs as much as X25519
}

// GenerateKey makes a random key.
func GenerateKey() *PrivateKey {
	return KeyFromSeed([SeedSize]byte(RandomBytes(SeedSize)))
}

// KeyFromSeed derives the key of a seed (crypto_sign_seed_keypair).
func KeyFromSeed(seed [SeedSize]byte) *PrivateKey {
	public, secret := active.keyPair(&seed)
	box, err := ecdh.X25519().NewPrivateKey(secret[:])
	if err != nil {
		panic("crypto: x25519 secret of a seed: " + err.Error())
	}
	parts := &privateParts{box: box}
	copy(parts.signing[:SeedSize], seed[:])
	copy(parts.signing[SeedSize:], public[:])
	return &PrivateKey{parts: &hiddenParts{parts}}
}

// ParsePrivateKey reads lower-case hex: 128 digits of seed ‖ public key, where the
// public key must be the seed's, or 64 digits of a seed. Errors wrap ErrKey and
// never repeat the input.
func ParsePrivateKey(s string) (*PrivateKey, error) {
	var b [SeedSize + KeySize]byte
	n := SeedSize
	if len(s) == 2*len(b) {
		n = len(b)
	}
	if !decodeHex(b[:n], s) {
		return nil, fmt.Errorf("private key is not 64 or 128 lower-case hex digits: %w", ErrKey)
	}
	k := KeyFromSeed([SeedSize]byte(b[:SeedSize]))
	if n == len(b) && k.Public() != PublicKey(b[SeedSize:]) {
		return nil, fmt.Errorf("private key has another seed's public half: %w", ErrKey)
	}
	return k, nil
}

// Public returns the ed25519 public key.
func (k *PrivateKey) Public() PublicKey { return PublicKey(k.parts.signing[SeedSize:]) }

// Seed returns the secret that the whole key is derived from.
func (k *PrivateKey) Seed() [SeedSize]byte { return [SeedSize]byte(k.parts.signing[:SeedSize]) }

// Hex returns seed ‖ public key as 128 hex digits. It is for key files alone.
func (k *PrivateKey) Hex() string { return hex.EncodeToString(k.parts.signing[:]) }

// Sign signs msg (crypto_sign_detached, RFC 8032). The same message gives the same
// signature.
func (k *PrivateKey) Sign(msg []byte) Signature {
	return active.sign(k.parts.signing[:], msg)
}

// Shared derives the key of the boxes between k and peer (crypto_box_beforenm of
// the converted keys), the same one for both directions. It returns ErrKey for a
// peer that is not Valid. Two curve operations: use a SharedCache for more than one
// message.
func (k *PrivateKey) Shared(peer PublicKey) (Key, error) {
	box, err := peer.Convert()
	if err != nil {
		return Key{}, err
	}
	shared, ok := beforeNM(active, k.parts.box, &box)
	if !ok {
		return Key{}, ErrKey
	}
	return shared, nil
}
