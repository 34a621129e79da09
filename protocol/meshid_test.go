package protocol

import (
	"bytes"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
)

func TestIDsHaveOneForm(t *testing.T) {
	seen := make(map[string]bool)
	add := func(id string) {
		t.Helper()
		if !MeshID(id).Valid() || seen[id] {
			t.Errorf("%q is malformed or not the first", id)
		}
		seen[id] = true
	}
	for i := range 100 { // some hashes begin with zero bits
		id := hashID([]byte{byte(i)})
		add(string(id[:]))
	}
	a, b := alice.Public(), bob.Public()
	other := MeshID(strings.Repeat("0", 32))
	add(MemberID(testMesh, a))
	add(MemberID(testMesh, b))
	add(MemberID(other, a))
	add(MessageID(testMesh, a, "client-1"))
	add(MessageID(testMesh, a, "client-2"))
	add(MessageID(testMesh, b, "client-1"))
	add(MessageID(other, a, "client-1"))
	if MessageID(testMesh, a, "client-1") != MessageID(testMesh, a, "client-1") {
		t.Error("a message sent again has another id")
	}
}

func TestSafetyNumber(t *testing.T) {
	lower, higher := alice.Public(), bob.Public()
	if bytes.Compare(lower[:], higher[:]) > 0 {
		lower, higher = higher, lower
	}
	text, qr := SafetyNumber(testMesh, lower, higher)
	if want := Fingerprint(testMesh, lower) + "\n" + Fingerprint(testMesh, higher); text != want {
		t.Errorf("%q, want %q", text, want)
	}
	code, ok := decodeBase64URL(qr)
	if want := string(testMesh) + string(lower[:]) + string(higher[:]); !ok || string(code) != want {
		t.Errorf("the QR code holds %q, want %q", code, want)
	}
	if text2, qr2 := SafetyNumber(testMesh, higher, lower); text2 != text || qr2 != qr {
		t.Error("the other side sees something else")
	}
}

// Every group has five digits, also where the number is small.
func TestFingerprintForm(t *testing.T) {
	for i := range 200 {
		fp := Fingerprint(testMesh, crypto.PublicKey{byte(i), 1})
		groups := strings.Split(fp, " ")
		if len(groups) != 6 {
			t.Fatalf("%q", fp)
		}
		for _, g := range groups {
			if len(g) != 5 || !only(g, digit) {
				t.Fatalf("%q", fp)
			}
		}
	}
	if Fingerprint(testMesh, alice.Public()) == Fingerprint(MeshID(strings.Repeat("0", 32)), alice.Public()) {
		t.Error("one key has the same fingerprint in two meshes")
	}
}
