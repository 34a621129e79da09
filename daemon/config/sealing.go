package config

import (
	"encoding/binary"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// A sealed file is what a passphrase opens: backups, and owner keys that are kept under one.
//
//	"CMB2" ‖ u32be passes ‖ u32be KiB ‖ salt(16) ‖ nonce(24) ‖ XChaCha20-Poly1305(plaintext)
//
// All that stands before the box is authenticated with it. The key is Argon2id's.
const sealMagic = "CMB2"

// HeadSize is the length of what precedes the box, in bytes.
const HeadSize = len(sealMagic) + 4 + 4 + 16 + crypto.NonceSize

// SealCost is what Argon2id costs when we write: three passes over 256 MiB, about a second. Only tests change it, to be done before they are old.
var SealCost = Cost{Passes: 3, KiB: 256 << 10}

// Cost is how hard Argon2id makes it to try a passphrase.
type Cost struct{ Passes, KiB uint32 }

// What a file may ask of its reader.
const maxSealPasses, maxSealKiB = 10, 1 << 20

// Sealing is a key derived from a passphrase, and the head that lets the passphrase find it again. It seals once: the nonce
// is part of the head.
type Sealing struct {
	Head []byte
	Key  crypto.Key
}

// NewSealing derives a fresh key from a passphrase. It takes about a second and 256 MiB.
func NewSealing(passphrase []byte) *Sealing {
	return newSealing(passphrase, SealCost.Passes, SealCost.KiB)
}

func newSealing(passphrase []byte, passes, kib uint32) *Sealing {
	head := []byte(sealMagic)
	head = binary.BigEndian.AppendUint32(head, passes)
	head = binary.BigEndian.AppendUint32(head, kib)
	salt := [16]byte(crypto.RandomBytes(16))
	head = append(append(head, salt[:]...), crypto.RandomBytes(crypto.NonceSize)...)
	return &Sealing{Head: head, Key: crypto.DeriveKey(passphrase, salt, passes, kib)}
}

// Seal returns the sealed file of plain.
func (s *Sealing) Seal(plain []byte) []byte {
	nonce := crypto.Nonce(s.Head[HeadSize-crypto.NonceSize:])
	return crypto.SealAEAD(append([]byte(nil), s.Head...), plain, s.Head, &nonce, &s.Key)
}

// OpenSealed returns what is in a sealed file. Errors are *protocol.Error: invalid for what is no such file, unauthorized for
// a wrong passphrase, which cannot be told from a damaged file.
func OpenSealed(file, passphrase []byte) ([]byte, error) {
	return openSealed(file, passphrase, maxSealPasses, maxSealKiB)
}

func openSealed(file, passphrase []byte, maxPasses, maxKiB uint32) ([]byte, error) {
	if len(file) < HeadSize+crypto.Overhead || string(file[:len(sealMagic)]) != sealMagic {
		return nil, protocol.Refuse(protocol.CodeInvalid, "this is not a file that claudemesh sealed")
	}
	head := file[:HeadSize]
	passes, kib := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[8:])
	if passes < 1 || passes > maxPasses || kib < 8 || kib > maxKiB {
		return nil, protocol.Refuse(protocol.CodeInvalid, "the sealed file asks for %d passes over %d KiB: at most %d over %d are read", passes, kib, maxPasses, maxKiB)
	}
	key := crypto.DeriveKey(passphrase, [16]byte(head[12:]), passes, kib)
	nonce := crypto.Nonce(head[HeadSize-crypto.NonceSize:])
	plain, err := crypto.OpenAEAD(nil, file[HeadSize:], head, &nonce, &key)
	if err != nil {
		return nil, protocol.Refuse(protocol.CodeUnauthorized, "the passphrase is wrong, or the file is damaged")
	}
	return plain, nil
}
