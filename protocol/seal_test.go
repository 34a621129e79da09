package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
)

// vectorNonce is the nonce of all vectors.
var vectorNonce = crypto.Nonce{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}

// sealVectors is the part of testdata/vectors/trust.json that is about envelopes.
type sealVectors struct {
	MeshID    MeshID          `json:"mesh_id"`
	Charter   statementVector `json:"charter"`
	Cert      statementVector `json:"cert"`
	LogDigest string          `json:"log_digest"`
	Plain     string          `json:"plain"`
	Direct    string          `json:"direct"`
	GroupHash string          `json:"group_ct_hash"`
	WrapPlain string          `json:"wrap_plain"`
	Wrap      string          `json:"wrap"`
}

func parseVector(t *testing.T, v statementVector) *Statement {
	t.Helper()
	raw, err := hex.DecodeString(v.Block + strings.Join(v.Sigs, ""))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readSealVectors(t *testing.T) sealVectors {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", "trust.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v sealVectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// vectorHeader is the header of the vectors' message from alice to bob.
func vectorHeader(t *testing.T, v sealVectors) *Header {
	t.Helper()
	h := &Header{
		ID: "0000000000000000000000000000000A", Mesh: v.MeshID, From: seeded(2).Public(), Member: seeded(2).Public(),
		To: to(seeded(3)), Prio: PriorityNext, TS: 1_700_000_000_000, Ep: "0011223344556677", Seq: 1,
	}
	if _, err := hex.Decode(h.Log[:], []byte(v.LogDigest)); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestSealVectors(t *testing.T) {
	v := readSealVectors(t)
	alice, bob := seeded(2), seeded(3)
	plain, err := signEnvelope(vectorHeader(t, v), []byte("hello mesh"), alice)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(plain); got != v.Plain {
		t.Fatalf("plaintext:\n got %s\nwant %s", got, v.Plain)
	}
	shared, err := alice.Shared(bob.Public())
	if err != nil {
		t.Fatal(err)
	}
	if got := encode64(crypto.Seal(nil, plain, &vectorNonce, &shared)); got != v.Direct {
		t.Errorf("direct box:\n got %s\nwant %s", got, v.Direct)
	}

	k := crypto.Key(bytes.Repeat([]byte{0x10}, crypto.KeySize))
	g := newGroupSeal(plain, &k, &vectorNonce)
	if got := hex.EncodeToString(g.hash[:]); got != v.GroupHash {
		t.Errorf("hash of the group ciphertext: got %s, want %s", got, v.GroupHash)
	}
	wrap := g.wrap(7, &shared, &vectorNonce)
	if got := encode64(wrap); got != v.Wrap {
		t.Errorf("wrap:\n got %s\nwant %s", got, v.Wrap)
	}
	if len(wrap) != 116 {
		t.Errorf("a wrap has %d bytes, want 116", len(wrap))
	}
	opened, err := crypto.Open(nil, wrap[crypto.NonceSize:], &vectorNonce, &shared)
	if err != nil || hex.EncodeToString(opened) != v.WrapPlain {
		t.Errorf("wrap plaintext: got %x, %v, want %s", opened, err, v.WrapPlain)
	}
}

// bob opens the vectors' message as it stands in the file.
func TestOpenVectors(t *testing.T) {
	v := readSealVectors(t)
	bob := seeded(3)
	h := vectorHeader(t, v)
	o := &Opener{
		Mesh: v.MeshID, View: NewView(parseVector(t, v.Charter), []*Statement{parseVector(t, v.Cert)}, Pins{}),
		Now: sealedAt, Member: bob.Public(),
		Shared: func(_, peer crypto.PublicKey) (crypto.Key, error) { return bob.Shared(peer) },
	}
	in := push(h, vectorNonce[:], decode64(t, v.Direct)).Incoming()
	m, err := o.Open(in)
	wantText(t, m, err, "hello mesh", TrustVerified)
	if m.Name() != "alice" || m.Seq() != 1 {
		t.Errorf("got %s, seq %d", m.Name(), m.Seq())
	}
	// The same plaintext in a group box is a direct message in the wrong box.
	k := crypto.Key(bytes.Repeat([]byte{0x10}, crypto.KeySize))
	plain, err := hex.DecodeString(v.Plain)
	if err != nil {
		t.Fatal(err)
	}
	g := newGroupSeal(plain, &k, &vectorNonce)
	in = push(h, g.Nonce, g.Ciphertext).Incoming()
	in.Key = v.Wrap
	m, err = o.Open(in)
	wantAlarm(t, m, err, CheckBinding, "confused")
}
