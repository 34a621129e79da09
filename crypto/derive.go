package crypto

import (
	"crypto/rand"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/blake2b"
)

// Hash is BLAKE2b-256 of the parts one after the other. Where the parts begin is
// not hashed: who needs that frames them.
func Hash(parts ...[]byte) [32]byte {
	if len(parts) == 1 { // without allocation
		return blake2b.Sum256(parts[0])
	}
	h, err := blake2b.New256(nil)
	if err != nil {
		panic("crypto: blake2b: " + err.Error())
	}
	for _, p := range parts {
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

// DeriveKey stretches a passphrase (Argon2id v1.3, one lane, 32 bytes;
// crypto_pwhash with time as opslimit and memKiB as memlimit/1024). It takes memKiB
// of memory: who reads the numbers from a file bounds them first. Less than one
// pass or 8 KiB, which Argon2 does not have, counts as that much.
func DeriveKey(passphrase []byte, salt [16]byte, time, memKiB uint32) Key {
	return Key(argon2.IDKey(passphrase, salt[:], max(time, 1), max(memKiB, 8), 1, KeySize))
}

// RandomBytes returns n bytes from the system's generator, which never fails: the
// process ends first.
func RandomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// NewKey returns a random key.
func NewKey() Key { return Key(RandomBytes(KeySize)) }

// NewNonce returns a random nonce.
func NewNonce() Nonce { return Nonce(RandomBytes(NonceSize)) }
