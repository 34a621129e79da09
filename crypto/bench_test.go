package crypto

import (
	"bytes"
	"testing"
)

var kibibyte = bytes.Repeat([]byte("m"), 1024)

// A message costs Seal or Open; Shared is what the cache saves.
func BenchmarkSeal(b *testing.B) {
	cache := NewSharedCache(alice, 8)
	n := NewNonce()
	dst := make([]byte, 0, len(kibibyte)+Overhead)
	b.SetBytes(int64(len(kibibyte)))
	for b.Loop() {
		k, err := cache.Shared(bob.Public())
		if err != nil {
			b.Fatal(err)
		}
		Seal(dst, kibibyte, &n, &k)
	}
}

func BenchmarkOpen(b *testing.B) {
	k, n := NewKey(), NewNonce()
	box := Seal(nil, kibibyte, &n, &k)
	dst := make([]byte, 0, len(kibibyte))
	b.SetBytes(int64(len(kibibyte)))
	for b.Loop() {
		if _, err := Open(dst, box, &n, &k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkShared(b *testing.B) {
	for b.Loop() {
		if _, err := alice.Shared(bob.Public()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	for b.Loop() {
		alice.Sign(kibibyte[:256])
	}
}

func BenchmarkVerify(b *testing.B) {
	sig := alice.Sign(kibibyte[:256])
	for b.Loop() {
		if !Verify(alice.Public(), kibibyte[:256], sig) {
			b.Fatal("refused")
		}
	}
}
