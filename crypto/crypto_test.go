package crypto

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

var (
	alice = KeyFromSeed([SeedSize]byte(bytes.Repeat([]byte{2}, SeedSize)))
	bob   = KeyFromSeed([SeedSize]byte(bytes.Repeat([]byte{3}, SeedSize)))
	cathy = KeyFromSeed([SeedSize]byte(bytes.Repeat([]byte{4}, SeedSize)))
)

func TestParsePublicKey(t *testing.T) {
	good := alice.Public().String()
	p, err := ParsePublicKey(good)
	if err != nil || p != alice.Public() {
		t.Fatalf("got %v, %v", p, err)
	}
	for _, bad := range []string{
		"", good[1:], good + "0", good[:62], strings.ToUpper(good), "g" + good[1:],
		" " + good[1:], good[:63] + "\n", "0x" + good[2:], good + good,
	} {
		if _, err := ParsePublicKey(bad); !errors.Is(err, ErrKey) {
			t.Errorf("%q: got %v, want %v", bad, err, ErrKey)
		}
	}
}

func TestPublicKeyInJSON(t *testing.T) {
	type row struct {
		Key   PublicKey            `json:"key"`
		ByKey map[PublicKey]string `json:"by_key"`
	}
	in := row{alice.Public(), map[PublicKey]string{bob.Public(): "bob"}}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"key":"` + alice.Public().String() + `","by_key":{"` + bob.Public().String() + `":"bob"}}`
	if string(text) != want {
		t.Fatalf("got %s, want %s", text, want)
	}
	var out row
	if err := json.Unmarshal(text, &out); err != nil || out.Key != in.Key || out.ByKey[bob.Public()] != "bob" {
		t.Fatalf("got %v, %v", out, err)
	}
	kept := out.Key
	if err := json.Unmarshal([]byte(`{"key":"`+strings.ToUpper(want[8:72])+`"}`), &out); err == nil || out.Key != kept {
		t.Errorf("upper case: got %v, key %v", err, out.Key)
	}
}

func TestPublicKeyNames(t *testing.T) {
	p := alice.Public()
	if p.Short() != p.String()[:8] {
		t.Errorf("short: got %s", p.Short())
	}
	if p.IsZero() || !(PublicKey{}).IsZero() {
		t.Error("only the zero value is zero")
	}
}

func TestParsePrivateKey(t *testing.T) {
	full := alice.Hex()
	for _, good := range []string{full, full[:64]} {
		k, err := ParsePrivateKey(good)
		if err != nil {
			t.Fatal(err)
		}
		if k.Public() != alice.Public() || k.Seed() != alice.Seed() || k.Hex() != full {
			t.Errorf("%d digits: got another key", len(good))
		}
	}
	for _, bad := range []string{
		"", full[:63], full[:65], full[:127], full + "0", strings.ToUpper(full),
		full[:64] + bob.Hex()[64:], bob.Hex()[:64] + full[64:], strings.Repeat("z", 64),
	} {
		_, err := ParsePrivateKey(bad)
		if !errors.Is(err, ErrKey) {
			t.Errorf("%q: got %v, want %v", bad, err, ErrKey)
		}
		if err != nil && len(bad) > 60 && strings.Contains(err.Error(), bad[:8]) {
			t.Errorf("error repeats the key: %v", err)
		}
	}
}

func TestGeneratedKeysDiffer(t *testing.T) {
	if GenerateKey().Public() == GenerateKey().Public() || NewKey() == NewKey() || NewNonce() == NewNonce() {
		t.Error("two random values are equal")
	}
	if got := len(RandomBytes(7)); got != 7 {
		t.Errorf("got %d bytes, want 7", got)
	}
	if !GenerateKey().Public().Valid() {
		t.Error("a generated key is not valid")
	}
}

func TestAliceWritesToBob(t *testing.T) {
	eachBackend(t, func(t *testing.T) {
		toBob, err := alice.Shared(bob.Public())
		if err != nil {
			t.Fatal(err)
		}
		n := NewNonce()
		box := Seal(nil, []byte("hello mesh"), &n, &toBob)

		fromAlice, err := bob.Shared(alice.Public())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Open(nil, box, &n, &fromAlice); err != nil || string(got) != "hello mesh" {
			t.Fatalf("bob: got %q, %v", got, err)
		}
		forCathy, err := cathy.Shared(alice.Public())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(nil, box, &n, &forCathy); !errors.Is(err, ErrOpen) {
			t.Fatalf("cathy: got %v, want %v", err, ErrOpen)
		}
	})
}

func TestSealAnonymous(t *testing.T) {
	eachBackend(t, func(t *testing.T) {
		to, err := bob.Public().Convert()
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 1, 32, 1000} {
			plain := bytes.Repeat([]byte{7}, size)
			box, err := SealAnonymous(plain, to)
			if err != nil || len(box) != size+anonymousOverhead {
				t.Fatalf("%d bytes: got %d, %v", size, len(box), err)
			}
			if got, err := OpenAnonymous(box, bob); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes: got %x, %v", size, got, err)
			}
			if _, err := OpenAnonymous(box, cathy); !errors.Is(err, ErrOpen) {
				t.Fatalf("cathy: got %v, want %v", err, ErrOpen)
			}
			again, err := SealAnonymous(plain, to)
			if err != nil || bytes.Equal(box[:KeySize], again[:KeySize]) {
				t.Fatalf("two boxes share an ephemeral key (%v)", err)
			}
		}
	})
}

// Append must reuse the caller's room and leave what stands before it.
func TestSealAppendsInPlace(t *testing.T) {
	eachBackend(t, func(t *testing.T) {
		k, n := NewKey(), NewNonce()
		dst := append(make([]byte, 0, 200), "head"...)
		box := Seal(dst, []byte("body"), &n, &k)
		if &box[0] != &dst[0] || len(box) != len("head")+len("body")+Overhead {
			t.Fatalf("got %d bytes elsewhere", len(box))
		}
		sealed := slices.Clone(box[4:])
		plain, err := Open(dst, sealed, &n, &k)
		if err != nil || string(plain) != "headbody" || &plain[0] != &dst[0] {
			t.Fatalf("got %q, %v", plain, err)
		}
	})
}

func TestDeriveKeyWithoutPasses(t *testing.T) {
	salt := [16]byte{1}
	if DeriveKey([]byte("p"), salt, 0, 0) != DeriveKey([]byte("p"), salt, 1, 8) {
		t.Error("no passes and no memory are not Argon2's least")
	}
}

func TestBackendIsNamed(t *testing.T) {
	if Backend() != active.name() || Backend() != "go" && Backend() != "libsodium" {
		t.Errorf("got %q", Backend())
	}
}
