package crypto

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// backends are all that this test binary holds: the file under the libsodium tag
// adds the other one.
var backends = []backend{nacl{}}

// eachBackend runs f with every backend as the active one.
func eachBackend(t *testing.T, f func(t *testing.T)) {
	chosen := active
	t.Cleanup(func() { active = chosen })
	for _, b := range backends {
		active = b
		t.Run(b.name(), f)
	}
}

// hexBytes are written as hex in the vector files.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vector is one case of any file; testdata/vectors/README.md names the fields.
type vector struct {
	Name, Outcome string

	Seed, Secret, Public, Peer  hexBytes
	BoxPublic                   hexBytes `json:"box_public"`
	BoxSecret                   hexBytes `json:"box_secret"`
	Message, Signature          hexBytes
	Key, Nonce, AAD, Plain, Box hexBytes
	Parts                       []hexBytes
	Hash, Passphrase, Salt      hexBytes
	Time                        uint32
	MemKiB                      uint32 `json:"mem_kib"`
}

func (v vector) ok() bool { return v.Outcome == "ok" }

// eachVector runs f for every case of a file under every backend.
func eachVector(t *testing.T, file string, f func(t *testing.T, v vector)) {
	t.Helper()
	cases := readVectors(t, file)
	eachBackend(t, func(t *testing.T) {
		for _, v := range cases {
			t.Run(v.Name, func(t *testing.T) { f(t, v) })
		}
	})
}

func readVectors(t testing.TB, file string) []vector {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	var cases []vector
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s: no cases", file)
	}
	return cases
}

// wantOutcome fails unless err is nil for an ok vector and refusal for the others.
func wantOutcome(t *testing.T, v vector, err, refusal error) {
	t.Helper()
	switch {
	case v.ok() && err != nil:
		t.Fatalf("got %v, want ok", err)
	case !v.ok() && !errors.Is(err, refusal):
		t.Fatalf("got %v, want %v (%s)", err, refusal, v.Outcome)
	}
}

func wantBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: got %x, want %x", what, got, want)
	}
}

func TestVectorsKeys(t *testing.T) {
	eachVector(t, "keys.json", func(t *testing.T, v vector) {
		k := KeyFromSeed([SeedSize]byte(v.Seed))
		public := k.Public()
		wantBytes(t, "public", public[:], v.Public)
		box, err := public.Convert()
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "box public", box[:], v.BoxPublic)
		wantBytes(t, "box secret", k.parts.box.Bytes(), v.BoxSecret)
		wantBytes(t, "box public of the secret", k.parts.box.PublicKey().Bytes(), v.BoxPublic)
		if want := hex.EncodeToString(v.Seed) + hex.EncodeToString(v.Public); k.Hex() != want {
			t.Errorf("hex: got %s, want %s", k.Hex(), want)
		}
	})
}

func TestVectorsConvert(t *testing.T) {
	eachVector(t, "convert.json", func(t *testing.T, v vector) {
		p := PublicKey(v.Public)
		box, err := p.Convert()
		wantOutcome(t, v, err, ErrKey)
		if p.Valid() != v.ok() {
			t.Errorf("valid: got %t", p.Valid())
		}
		if v.ok() {
			wantBytes(t, "box public", box[:], v.BoxPublic)
		}
		if got := refusalOf(p); got != v.Outcome {
			t.Errorf("outcome: got %s, want %s", got, v.Outcome)
		}
	})
}

func TestVectorsSign(t *testing.T) {
	eachVector(t, "sign.json", func(t *testing.T, v vector) {
		if v.Seed != nil {
			sig := KeyFromSeed([SeedSize]byte(v.Seed)).Sign(v.Message)
			wantBytes(t, "signature", sig[:], v.Signature)
		}
		if got := Verify(PublicKey(v.Public), v.Message, Signature(v.Signature)); got != v.ok() {
			t.Fatalf("verify: got %t, want %s", got, v.Outcome)
		}
	})
}

func TestVectorsShared(t *testing.T) {
	eachVector(t, "shared.json", func(t *testing.T, v vector) {
		k, err := KeyFromSeed([SeedSize]byte(v.Seed)).Shared(PublicKey(v.Peer))
		wantOutcome(t, v, err, ErrKey)
		if v.ok() {
			wantBytes(t, "key", k[:], v.Key)
		}
	})
}

func TestVectorsX25519(t *testing.T) {
	eachVector(t, "x25519.json", func(t *testing.T, v vector) {
		peer := BoxPublicKey(v.Peer)
		k, ok := beforeNM(active, rawSecret(t, v.Secret), &peer)
		if ok != v.ok() {
			t.Fatalf("got %t, want %s", ok, v.Outcome)
		}
		if v.ok() {
			wantBytes(t, "key", k[:], v.Key)
			return
		}
		if _, err := SealAnonymous([]byte("hi"), peer); !errors.Is(err, ErrKey) {
			t.Fatalf("seal to it: got %v, want %v", err, ErrKey)
		}
	})
}

func TestVectorsBox(t *testing.T) {
	eachVector(t, "box.json", func(t *testing.T, v vector) {
		k, n := Key(v.Key), Nonce(v.Nonce)
		plain, err := Open([]byte("before "), v.Box, &n, &k)
		wantOutcome(t, v, err, ErrOpen)
		if !v.ok() {
			wantBytes(t, "plain of a refused box", plain, nil)
			return
		}
		wantBytes(t, "plain", plain, append([]byte("before "), v.Plain...))
		wantBytes(t, "box", Seal([]byte("before "), v.Plain, &n, &k), append([]byte("before "), v.Box...))
	})
}

func TestVectorsSealedBox(t *testing.T) {
	eachVector(t, "sealedbox.json", func(t *testing.T, v vector) {
		plain, ok := active.openAnonymous(v.Box, rawSecret(t, v.Secret))
		if ok != v.ok() || ok && !bytes.Equal(plain, v.Plain) {
			t.Fatalf("raw secret: got %x, %t, want %s", plain, ok, v.Outcome)
		}
		if v.Seed == nil {
			return
		}
		plain, err := OpenAnonymous(v.Box, KeyFromSeed([SeedSize]byte(v.Seed)))
		wantOutcome(t, v, err, ErrOpen)
		wantBytes(t, "plain", plain, v.Plain)
	})
}

func TestVectorsHash(t *testing.T) {
	eachVector(t, "hash.json", func(t *testing.T, v vector) {
		var parts [][]byte
		for _, p := range v.Parts {
			parts = append(parts, p)
		}
		got := Hash(parts...)
		wantBytes(t, "hash", got[:], v.Hash)
	})
}

func TestVectorsArgon2(t *testing.T) {
	for _, v := range readVectors(t, "argon2.json") {
		t.Run(v.Name, func(t *testing.T) {
			k := DeriveKey(v.Passphrase, [16]byte(v.Salt), v.Time, v.MemKiB)
			wantBytes(t, "key", k[:], v.Key)
		})
	}
}

func TestVectorsAEAD(t *testing.T) {
	eachVector(t, "aead.json", func(t *testing.T, v vector) {
		k, n := Key(v.Key), Nonce(v.Nonce)
		plain, err := OpenAEAD([]byte("before "), v.Box, v.AAD, &n, &k)
		wantOutcome(t, v, err, ErrOpen)
		if !v.ok() {
			wantBytes(t, "plain of a refused box", plain, nil)
			return
		}
		wantBytes(t, "plain", plain, append([]byte("before "), v.Plain...))
		wantBytes(t, "box", SealAEAD([]byte("before "), v.Plain, v.AAD, &n, &k), append([]byte("before "), v.Box...))
	})
}

func rawSecret(t testing.TB, secret []byte) *ecdh.PrivateKey {
	t.Helper()
	k, err := ecdh.X25519().NewPrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
