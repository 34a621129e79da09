//go:build cgo && libsodium

package crypto

import (
	"crypto/ecdh"

	"github.com/jamesruan/sodium"
)

// libsodium is the backend over the system's library. The binding panics where
// libsodium answers an error and allocates a negative length for a box shorter
// than its tag, so every call that meets a stranger's bytes is guarded here.
type libsodium struct{}

func (libsodium) name() string { return "libsodium" }

func (libsodium) keyPair(seed *[SeedSize]byte) (public PublicKey, box [KeySize]byte) {
	kp := sodium.SeedSignKP(sodium.SignSeed{Bytes: seed[:]})
	copy(public[:], kp.PublicKey.Bytes)
	copy(box[:], kp.SecretKey.ToBox().Bytes)
	return public, box
}

func (libsodium) sign(secret []byte, msg []byte) (sig Signature) {
	copy(sig[:], sodium.Bytes(msg).SignDetached(sodium.SignSecretKey{Bytes: secret}).Bytes)
	return sig
}

func (libsodium) convert(public *PublicKey) (box BoxPublicKey, ok bool) {
	copy(box[:], sodium.SignPublicKey{Bytes: public[:]}.ToBox().Bytes)
	// ToBox drops libsodium's refusal and leaves the result zero, which no key of
	// prime order converts to.
	return box, box != BoxPublicKey{}
}

func (libsodium) x25519(secret *ecdh.PrivateKey, peer *BoxPublicKey) (out [KeySize]byte, ok bool) {
	ok = guarded(func() {
		copy(out[:], sodium.CryptoScalarmult(sodium.Scalar{Bytes: secret.Bytes()}, sodium.Scalar{Bytes: peer[:]}).Bytes)
	})
	return out, ok
}

func (libsodium) seal(dst, plain []byte, n *Nonce, k *Key) []byte {
	return append(dst, sodium.Bytes(plain).SecretBox(
		sodium.SecretBoxNonce{Bytes: n[:]}, sodium.SecretBoxKey{Bytes: k[:]})...)
}

func (libsodium) open(dst, box []byte, n *Nonce, k *Key) ([]byte, bool) {
	if len(box) < Overhead {
		return nil, false
	}
	plain, err := sodium.Bytes(box).SecretBoxOpen(
		sodium.SecretBoxNonce{Bytes: n[:]}, sodium.SecretBoxKey{Bytes: k[:]})
	if err != nil {
		return nil, false
	}
	return append(dst, plain...), true
}

func (libsodium) sealAEAD(dst, plain, aad []byte, n *Nonce, k *Key) []byte {
	return append(dst, sodium.Bytes(plain).AEADXCPEncrypt(
		aad, sodium.AEADXCPNonce{Bytes: n[:]}, sodium.AEADXCPKey{Bytes: k[:]})...)
}

func (libsodium) openAEAD(dst, box, aad []byte, n *Nonce, k *Key) ([]byte, bool) {
	if len(box) < Overhead {
		return nil, false
	}
	plain, err := sodium.Bytes(box).AEADXCPDecrypt(
		aad, sodium.AEADXCPNonce{Bytes: n[:]}, sodium.AEADXCPKey{Bytes: k[:]})
	if err != nil {
		return nil, false
	}
	return append(dst, plain...), true
}

func (libsodium) sealAnonymous(plain []byte, to *BoxPublicKey) (box []byte, ok bool) {
	ok = guarded(func() {
		box = sodium.Bytes(plain).SealedBox(sodium.BoxPublicKey{Bytes: to[:]})
	})
	return box, ok
}

func (libsodium) openAnonymous(box []byte, secret *ecdh.PrivateKey) ([]byte, bool) {
	if len(box) < anonymousOverhead {
		return nil, false
	}
	plain, err := sodium.Bytes(box).SealedBoxOpen(sodium.BoxKP{
		PublicKey: sodium.BoxPublicKey{Bytes: secret.PublicKey().Bytes()},
		SecretKey: sodium.BoxSecretKey{Bytes: secret.Bytes()},
	})
	return plain, err == nil
}

// guarded reports whether f returned: the binding panics on a peer key of low order.
func guarded(f func()) (ok bool) {
	defer func() { ok = recover() == nil }()
	f()
	return
}
