package crypto

import (
	"crypto/ecdh"

	"golang.org/x/crypto/salsa20/salsa"
)

// Key is a secret symmetric key: of a secretbox, of the boxes between two keys
// (Shared), or of an AEAD.
type Key [KeySize]byte

// Seal appends to dst the box of plain under n and k, Overhead bytes longer
// (crypto_secretbox_easy, which is crypto_box_easy_afternm under a Shared key). dst
// and plain must not overlap.
func Seal(dst, plain []byte, n *Nonce, k *Key) []byte {
	return active.seal(dst, plain, n, k)
}

// Open appends to dst what Seal put into box, or returns nil and ErrOpen. dst and
// box must not overlap.
func Open(dst, box []byte, n *Nonce, k *Key) ([]byte, error) {
	plain, ok := active.open(dst, box, n, k)
	if !ok {
		return nil, ErrOpen
	}
	return plain, nil
}

// SealAEAD appends to dst the ciphertext of plain and its tag, which covers aad too
// (XChaCha20-Poly1305-IETF). dst and plain must not overlap.
func SealAEAD(dst, plain, aad []byte, n *Nonce, k *Key) []byte {
	return active.sealAEAD(dst, plain, aad, n, k)
}

// OpenAEAD appends to dst what SealAEAD put into box, or returns nil and ErrOpen.
// dst and box must not overlap.
func OpenAEAD(dst, box, aad []byte, n *Nonce, k *Key) ([]byte, error) {
	plain, ok := active.openAEAD(dst, box, aad, n, k)
	if !ok {
		return nil, ErrOpen
	}
	return plain, nil
}

// SealAnonymous seals plain to a key without a sender, 48 bytes longer
// (crypto_box_seal). It returns ErrKey for a recipient of low order.
func SealAnonymous(plain []byte, to BoxPublicKey) ([]byte, error) {
	box, ok := active.sealAnonymous(plain, &to)
	if !ok {
		return nil, ErrKey
	}
	return box, nil
}

// OpenAnonymous opens what SealAnonymous sealed to the converted public key of k,
// or returns ErrOpen (crypto_box_seal_open). Anyone may have made it.
func OpenAnonymous(box []byte, k *PrivateKey) ([]byte, error) {
	plain, ok := active.openAnonymous(box, k.parts.box)
	if !ok {
		return nil, ErrOpen
	}
	return plain, nil
}

// beforeNM is crypto_box_beforenm: HSalsa20 of the X25519 result.
func beforeNM(b backend, secret *ecdh.PrivateKey, peer *BoxPublicKey) (k Key, ok bool) {
	point, ok := b.x25519(secret, peer)
	if !ok {
		return k, false
	}
	salsa.HSalsa20((*[KeySize]byte)(&k), new([16]byte), &point, &salsa.Sigma)
	return k, true
}
