//go:build cgo && libsodium

package crypto

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/jamesruan/sodium"
)

func init() {
	backends = append(backends, libsodium{})
	otherVerify = sodiumVerify
}

func sodiumVerify(p PublicKey, msg []byte, sig Signature) bool {
	return sodium.Bytes(msg).SignVerifyDetached(
		sodium.Signature{Bytes: sig[:]}, sodium.SignPublicKey{Bytes: p[:]}) == nil
}

// eachPair runs f with every ordered pair of backends: what one makes, the other opens.
func eachPair(t *testing.T, f func(t *testing.T, a, b backend)) {
	for _, a := range backends {
		for _, b := range backends {
			if a != b {
				t.Run(a.name()+" to "+b.name(), func(t *testing.T) { f(t, a, b) })
			}
		}
	}
}

func TestLibsodiumIsTheDefault(t *testing.T) {
	if Backend() != "libsodium" {
		t.Errorf("got %q", Backend())
	}
}

func TestCrossKeys(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b backend) {
		for range 20 {
			seed := [SeedSize]byte(RandomBytes(SeedSize))
			aPublic, aBox := a.keyPair(&seed)
			bPublic, bBox := b.keyPair(&seed)
			if aPublic != bPublic || aBox != bBox {
				t.Fatal("key pairs differ")
			}
			aConverted, aOK := a.convert(&aPublic)
			bConverted, bOK := b.convert(&aPublic)
			if !aOK || !bOK || aConverted != bConverted {
				t.Fatal("conversions differ")
			}
			secret := rawSecret(t, aBox[:])
			if !bytes.Equal(secret.PublicKey().Bytes(), aConverted[:]) {
				t.Fatal("converted halves are not a pair")
			}
		}
	})
}

func TestCrossSign(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b backend) {
		secret, public := alice.parts.signing[:], alice.Public()
		for size := range 70 {
			msg := RandomBytes(size)
			sig := a.sign(secret, msg)
			if sig != b.sign(secret, msg) {
				t.Fatalf("%d bytes: signatures differ", size)
			}
			if !Verify(public, msg, sig) || !sodiumVerify(public, msg, sig) {
				t.Fatalf("%d bytes: refused", size)
			}
			sig[size%SignatureSize] ^= 1
			if Verify(public, msg, sig) || sodiumVerify(public, msg, sig) {
				t.Fatalf("%d bytes: forged signature accepted", size)
			}
		}
	})
}

func TestCrossBoxes(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b backend) {
		to, err := bob.Public().Convert()
		if err != nil {
			t.Fatal(err)
		}
		from, err := alice.Public().Convert()
		if err != nil {
			t.Fatal(err)
		}
		k, ok := beforeNM(a, alice.parts.box, &to)
		back, backOK := beforeNM(b, bob.parts.box, &from)
		if !ok || !backOK || k != back {
			t.Fatal("shared keys differ")
		}
		for _, size := range []int{0, 1, 15, 16, 17, 31, 32, 33, 64, 65, 1024, 5000} {
			plain, aad, n := RandomBytes(size), RandomBytes(size%40), NewNonce()
			t.Run(fmt.Sprint(size), func(t *testing.T) { crossBox(t, a, b, plain, aad, &n, &k, &to) })
		}
	})
}

func crossBox(t *testing.T, a, b backend, plain, aad []byte, n *Nonce, k *Key, to *BoxPublicKey) {
	box := a.seal(nil, plain, n, k)
	wantBytes(t, "secretbox", b.seal(nil, plain, n, k), box)
	if got, ok := b.open(nil, box, n, k); !ok || !bytes.Equal(got, plain) {
		t.Fatal("secretbox does not open")
	}
	box[len(box)-1] ^= 1
	if _, ok := b.open(nil, box, n, k); ok {
		t.Fatal("forged secretbox opens")
	}

	box = a.sealAEAD(nil, plain, aad, n, k)
	wantBytes(t, "aead", b.sealAEAD(nil, plain, aad, n, k), box)
	if got, ok := b.openAEAD(nil, box, aad, n, k); !ok || !bytes.Equal(got, plain) {
		t.Fatal("aead does not open")
	}
	if _, ok := b.openAEAD(nil, box, append(aad, 0), n, k); ok {
		t.Fatal("aead opens with other data")
	}

	box, ok := a.sealAnonymous(plain, to)
	if !ok {
		t.Fatal("sealed box refused")
	}
	if got, ok := b.openAnonymous(box, bob.parts.box); !ok || !bytes.Equal(got, plain) {
		t.Fatal("sealed box does not open")
	}
	box[0] ^= 1
	if _, ok := b.openAnonymous(box, bob.parts.box); ok {
		t.Fatal("forged sealed box opens")
	}
}

// libsodium's crypto_box itself, not only its parts, is what Shared and Seal make.
func TestCrossCryptoBox(t *testing.T) {
	pk, err := bob.Public().Convert()
	if err != nil {
		t.Fatal(err)
	}
	k, err := alice.Shared(bob.Public())
	if err != nil {
		t.Fatal(err)
	}
	n := NewNonce()
	want := sodium.Bytes("hello mesh").Box(sodium.BoxNonce{Bytes: n[:]},
		sodium.BoxPublicKey{Bytes: pk[:]}, sodium.BoxSecretKey{Bytes: alice.parts.box.Bytes()})
	wantBytes(t, "box", Seal(nil, []byte("hello mesh"), &n, &k), want)
}

func TestCrossHash(t *testing.T) {
	for _, size := range []int{0, 1, 64, 127, 128, 129, 1000} {
		msg := RandomBytes(size)
		h := sodium.NewGenericHash(32)
		h.Write(msg)
		got := Hash(msg[:size/2], msg[size/2:])
		wantBytes(t, fmt.Sprintf("%d bytes", size), got[:], h.Sum(nil))
	}
}

// The standard library accepts these two by itself, libsodium does not, nor Verify.
func TestVerdictsThatDiffer(t *testing.T) {
	identityR, err := hex.DecodeString("0100000000000000000000000000000000000000000000000000000000000000" +
		"f72c55a3cefe47e407190a59902f00463b87737109b874248069c069e5c2e205")
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		key  PublicKey
		msg  string
		sig  Signature
	}{
		{"R = identity", alice.Public(), "revoke bob", Signature(identityR)},
		{"key = identity, R = identity, S = 0", PublicKey{1}, "anything", Signature{1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if !ed25519.Verify(c.key[:], []byte(c.msg), c.sig[:]) {
				t.Error("the standard library refuses it: the case proves nothing")
			}
			if sodiumVerify(c.key, []byte(c.msg), c.sig) {
				t.Error("libsodium accepts it")
			}
			if Verify(c.key, []byte(c.msg), c.sig) {
				t.Error("accepted")
			}
		})
	}
}

// The binding panics or answers zeros on these; the backend must refuse.
func TestGuards(t *testing.T) {
	b, n, k := libsodium{}, NewNonce(), NewKey()
	for size := range anonymousOverhead {
		short := make([]byte, size)
		if _, ok := b.openAnonymous(short, bob.parts.box); ok {
			t.Errorf("sealed box of %d bytes opens", size)
		}
		if _, ok := b.open(nil, short, &n, &k); ok {
			t.Errorf("secretbox of %d bytes opens", size)
		}
		if _, ok := b.openAEAD(nil, short, nil, &n, &k); ok {
			t.Errorf("aead of %d bytes opens", size)
		}
	}
	for _, low := range []BoxPublicKey{{}, {1}} {
		if _, ok := b.x25519(alice.parts.box, &low); ok {
			t.Errorf("x25519 with %x", low)
		}
		if _, ok := b.sealAnonymous([]byte("hi"), &low); ok {
			t.Errorf("sealed to %x", low)
		}
	}
	for _, bad := range []PublicKey{{}, {1}, {2}} {
		if _, ok := b.convert(&bad); ok {
			t.Errorf("converted %x", bad[:])
		}
	}
}
