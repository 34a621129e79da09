package crypto

import "crypto/ecdh"

// backend is what nacl.go and sodium.go both implement. Callers have checked
// nothing but the sizes that the types fix, except where a method says more.
//
// Some things are in Go for both. Verify, because libsodium after 1.0.18 multiplies
// the equation by the cofactor and so accepts what 1.0.18 and Go refuse: members
// must not disagree about a statement because of a library's version. HSalsa20 and
// raw Argon2id, which jamesruan/sodium lacks. BLAKE2b, because the binding keeps its
// state, for which libsodium asks 64-byte alignment, in memory that has less.
type backend interface {
	name() string

	// keyPair gives the ed25519 public key of a seed (crypto_sign_seed_keypair) and
	// the clamped x25519 secret (crypto_sign_ed25519_sk_to_curve25519).
	keyPair(seed *[SeedSize]byte) (public PublicKey, box [KeySize]byte)

	// sign is crypto_sign_detached; secret is seed ‖ public.
	sign(secret []byte, msg []byte) Signature

	// convert is crypto_sign_ed25519_pk_to_curve25519. The caller has refused keys of
	// small order and non-canonical ones; convert refuses those off the curve and
	// outside the prime-order subgroup.
	convert(public *PublicKey) (BoxPublicKey, bool)

	// x25519 is crypto_scalarmult; it refuses the all-zero result.
	x25519(secret *ecdh.PrivateKey, peer *BoxPublicKey) ([KeySize]byte, bool)

	// seal and open are crypto_secretbox_easy and its opposite.
	seal(dst, plain []byte, n *Nonce, k *Key) []byte
	open(dst, box []byte, n *Nonce, k *Key) ([]byte, bool)

	// sealAEAD and openAEAD are crypto_aead_xchacha20poly1305_ietf.
	sealAEAD(dst, plain, aad []byte, n *Nonce, k *Key) []byte
	openAEAD(dst, box, aad []byte, n *Nonce, k *Key) ([]byte, bool)

	// sealAnonymous and openAnonymous are crypto_box_seal and its opposite.
	sealAnonymous(plain []byte, to *BoxPublicKey) ([]byte, bool)
	openAnonymous(box []byte, secret *ecdh.PrivateKey) ([]byte, bool)
}

// Backend names the implementation that this binary was built with: "go" or
// "libsodium".
func Backend() string { return active.name() }
