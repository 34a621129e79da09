package crypto

import (
	"bytes"
	"errors"
	"testing"
)

// Under the libsodium tag the fuzz targets also ask both backends and want one verdict.

func FuzzOpen(f *testing.F) {
	for _, v := range readVectors(f, "box.json") {
		f.Add([]byte(v.Box), []byte(v.Nonce), []byte(v.Key))
	}
	f.Fuzz(func(t *testing.T, box, nonce, key []byte) {
		var n Nonce
		var k Key
		copy(n[:], nonce)
		copy(k[:], key)
		for _, b := range backends {
			plain, ok := b.open(nil, box, &n, &k)
			if ok && !bytes.Equal(b.seal(nil, plain, &n, &k), box) {
				t.Fatalf("%s: opened a box that it does not seal", b.name())
			}
			wantSame(t, b, ok, func(b backend) bool { _, ok := b.open(nil, box, &n, &k); return ok })
			plain, ok = b.openAEAD(nil, box, nonce, &n, &k)
			if ok && !bytes.Equal(b.sealAEAD(nil, plain, nonce, &n, &k), box) {
				t.Fatalf("%s: opened an AEAD that it does not seal", b.name())
			}
		}
	})
}

func FuzzOpenAnonymous(f *testing.F) {
	for _, v := range readVectors(f, "sealedbox.json") {
		f.Add([]byte(v.Box))
	}
	f.Fuzz(func(t *testing.T, box []byte) {
		for _, b := range backends {
			_, ok := b.openAnonymous(box, bob.parts.box)
			wantSame(t, b, ok, func(b backend) bool { _, ok := b.openAnonymous(box, bob.parts.box); return ok })
		}
	})
}

// otherVerify is libsodium's under its tag. Newer versions accept more than Verify,
// none accepts less.
var otherVerify func(PublicKey, []byte, Signature) bool

func FuzzVerify(f *testing.F) {
	for _, v := range readVectors(f, "sign.json") {
		f.Add([]byte(v.Public), []byte(v.Message), []byte(v.Signature))
	}
	f.Fuzz(func(t *testing.T, public, msg, signature []byte) {
		var p PublicKey
		var sig Signature
		copy(p[:], public)
		copy(sig[:], signature)
		got := Verify(p, msg, sig)
		if got && sig[63]&0xe0 != 0 {
			t.Fatal("accepted an S past the group order")
		}
		if got && otherVerify != nil && !otherVerify(p, msg, sig) {
			t.Fatal("libsodium refuses it")
		}
	})
}

func FuzzConvert(f *testing.F) {
	for _, v := range readVectors(f, "convert.json") {
		f.Add([]byte(v.Public))
	}
	f.Fuzz(func(t *testing.T, public []byte) {
		var p PublicKey
		copy(p[:], public)
		_, err := p.Convert()
		if (err == nil) != (refusalOf(p) == "ok") {
			t.Fatalf("got %v, arithmetic says %s", err, refusalOf(p))
		}
		if _, err := alice.Shared(p); (err == nil) != p.Valid() {
			t.Fatalf("shared: got %v for valid %t", err, p.Valid())
		}
		// Any 32 bytes are an x25519 key; those of low order must be refused alike.
		box := BoxPublicKey(p)
		for _, b := range backends {
			_, ok := b.x25519(alice.parts.box, &box)
			wantSame(t, b, ok, func(b backend) bool { _, ok := b.x25519(alice.parts.box, &box); return ok })
		}
	})
}

func FuzzParsePrivateKey(f *testing.F) {
	full := alice.Hex()
	for _, s := range []string{full, full[:64], full[:63], full[64:] + full[:64], ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParsePrivateKey(s)
		if err != nil {
			if k != nil || !errors.Is(err, ErrKey) {
				t.Fatalf("got %v", err)
			}
			return
		}
		if hex := k.Hex(); hex != s && hex[:64] != s {
			t.Fatal("a key has a second spelling")
		}
	})
}

// wantSame fails when another backend answers a question otherwise than b did.
func wantSame(t *testing.T, b backend, got bool, ask func(backend) bool) {
	t.Helper()
	for _, other := range backends {
		if want := ask(other); want != got {
			t.Fatalf("%s says %t, %s says %t", b.name(), got, other.name(), want)
		}
	}
}
