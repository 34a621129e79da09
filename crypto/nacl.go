package crypto

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"

	"filippo.io/edwards25519"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/nacl/secretbox"
)

// nacl is the backend without a C compiler. It does not use nacl/box, whose
// Precompute and SealAnonymous take a peer key of low order without a word.
type nacl struct{}

func (nacl) name() string { return "go" }

func (nacl) keyPair(seed *[SeedSize]byte) (public PublicKey, box [KeySize]byte) {
	copy(public[:], ed25519.NewKeyFromSeed(seed[:])[SeedSize:])
	h := sha512.Sum512(seed[:])
	copy(box[:], h[:KeySize])
	box[0] &= 248
	box[31] = box[31]&127 | 64
	return public, box
}

func (nacl) sign(secret []byte, msg []byte) (sig Signature) {
	copy(sig[:], ed25519.Sign(secret, msg))
	return sig
}

// minusOne is the order of the prime subgroup, less one.
var minusOne = func() *edwards25519.Scalar {
	one, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		panic("crypto: scalar one: " + err.Error())
	}
	return one.Negate(one)
}()

func (nacl) convert(public *PublicKey) (box BoxPublicKey, ok bool) {
	p, err := new(edwards25519.Point).SetBytes(public[:])
	if err != nil {
		return box, false
	}
	// p is in the subgroup of prime order l exactly when (l-1)p = -p. The key is
	// public, so the time this takes may depend on it.
	multiple := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, edwards25519.NewScalar())
	if multiple.Equal(new(edwards25519.Point).Negate(p)) != 1 {
		return box, false
	}
	copy(box[:], p.BytesMontgomery())
	return box, true
}

func (nacl) x25519(secret *ecdh.PrivateKey, peer *BoxPublicKey) (out [KeySize]byte, ok bool) {
	p, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return out, false
	}
	shared, err := secret.ECDH(p)
	if err != nil {
		return out, false
	}
	copy(out[:], shared)
	return out, true
}

func (nacl) seal(dst, plain []byte, n *Nonce, k *Key) []byte {
	return secretbox.Seal(dst, plain, (*[NonceSize]byte)(n), (*[KeySize]byte)(k))
}

func (nacl) open(dst, box []byte, n *Nonce, k *Key) ([]byte, bool) {
	return secretbox.Open(dst, box, (*[NonceSize]byte)(n), (*[KeySize]byte)(k))
}

func (nacl) sealAEAD(dst, plain, aad []byte, n *Nonce, k *Key) []byte {
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		panic("crypto: xchacha20poly1305: " + err.Error())
	}
	return aead.Seal(dst, n[:], plain, aad)
}

func (nacl) openAEAD(dst, box, aad []byte, n *Nonce, k *Key) ([]byte, bool) {
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		panic("crypto: xchacha20poly1305: " + err.Error())
	}
	plain, err := aead.Open(dst, n[:], box, aad)
	return plain, err == nil
}

func (nacl) sealAnonymous(plain []byte, to *BoxPublicKey) ([]byte, bool) {
	ephemeral, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic("crypto: x25519 key: " + err.Error())
	}
	k, ok := beforeNM(nacl{}, ephemeral, to)
	if !ok {
		return nil, false
	}
	from := ephemeral.PublicKey().Bytes()
	out := make([]byte, KeySize, anonymousOverhead+len(plain))
	copy(out, from)
	return nacl{}.seal(out, plain, anonymousNonce(from, to[:]), &k), true
}

func (nacl) openAnonymous(box []byte, secret *ecdh.PrivateKey) ([]byte, bool) {
	if len(box) < anonymousOverhead {
		return nil, false
	}
	from := BoxPublicKey(box[:KeySize])
	k, ok := beforeNM(nacl{}, secret, &from)
	if !ok {
		return nil, false
	}
	n := anonymousNonce(from[:], secret.PublicKey().Bytes())
	return nacl{}.open(nil, box[KeySize:], n, &k)
}

// anonymousNonce is BLAKE2b-192 of the ephemeral key and the recipient's.
func anonymousNonce(from, to []byte) *Nonce {
	h, err := blake2b.New(NonceSize, nil)
	if err != nil {
		panic("crypto: blake2b: " + err.Error())
	}
	h.Write(from)
	h.Write(to)
	return (*Nonce)(h.Sum(nil))
}
