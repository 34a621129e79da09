package recall

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// keySize is the length in bytes of the key that fingerprints are made with.
const keySize = 32

// keyFile lies beside the index, so that a hook can fingerprint its environment without opening it.
func keyFile(path string) string { return strings.TrimSuffix(path, ".db") + ".key" }

// FingerprintKey returns the key with which values of an environment are fingerprinted for the
// memory at path. It is secret: with it and the index, short values can be guessed. It wraps
// fs.ErrNotExist before the memory was opened first.
func FingerprintKey(path string) ([]byte, error) {
	key, err := os.ReadFile(keyFile(path))
	if err == nil && len(key) != keySize {
		err = fmt.Errorf("%s has %d bytes instead of %d", keyFile(path), len(key), keySize)
	}
	return key, err
}

// fingerprintKey makes the key where it is missing. Fingerprints of a lost key match nothing.
func fingerprintKey(path string) ([]byte, error) {
	key, err := FingerprintKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, keySize)
	rand.Read(key) // never fails
	f, err := os.OpenFile(keyFile(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(key)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(keyFile(path))
		return nil, err
	}
	return key, nil
}
