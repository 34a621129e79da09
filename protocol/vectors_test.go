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

// trustVectors is testdata/vectors/trust.json: made with libsodium by another program.
type trustVectors struct {
	MeshID                                        MeshID `json:"mesh_id"`
	Charter, Cert, Invite, Enrol, Session, Revoke statementVector
	Hello                                         statementVector
	SessionHello                                  statementVector `json:"session_hello"`
	LogDigest                                     string          `json:"log_digest"`
	Link                                          string          `json:"link"`
	FpAlice                                       string          `json:"fp_alice"`
}

type statementVector struct {
	Block string
	ID    string
	Sigs  []string
}

func readTrustVectors(t *testing.T) trustVectors {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", "trust.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v trustVectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// seeded returns the key whose seed is 32 equal bytes.
func seeded(b byte) *crypto.PrivateKey {
	return crypto.KeyFromSeed([crypto.SeedSize]byte(bytes.Repeat([]byte{b}, crypto.SeedSize)))
}

func TestTrustVectors(t *testing.T) {
	v := readTrustVectors(t)
	owner, alice, bob, session, link, recovery := seeded(1), seeded(2), seeded(3), seeded(4), seeded(9), seeded(14)
	mesh := v.MeshID
	charter := &Charter{Owner: owner.Public(), Recovery: recovery.Public(), Created: 1700000000,
		Random: [16]byte(bytes.Repeat([]byte{15}, 16)), Slug: "demo"}
	if got := charter.MeshID(); got != mesh {
		t.Errorf("mesh id %s, want %s", got, mesh)
	}
	var nonce [32]byte
	for i := range nonce {
		nonce[i] = byte(i)
	}
	instance := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	for _, c := range []struct {
		want statementVector
		body Body
		keys []*crypto.PrivateKey
	}{
		{v.Charter, charter, []*crypto.PrivateKey{owner}},
		{v.Cert, &Cert{mesh, owner.Public(), alice.Public(), "alice", RoleAdmin, 1700000000}, []*crypto.PrivateKey{owner}},
		{v.Invite, &Invite{mesh, alice.Public(), link.Public(), RoleMember, 1, 1900000000, "wss://b.example/ws", owner.Public()},
			[]*crypto.PrivateKey{alice}},
		{v.Enrol, &Enrol{mesh, link.Public(), bob.Public(), "bob", 1700000100}, []*crypto.PrivateKey{link, bob}},
		{v.Session, &Session{mesh, alice.Public(), session.Public(), "web", []string{"oncall", "backend"}, nil, 1700000000000, 1700043200000},
			[]*crypto.PrivateKey{alice, session}},
		{v.Revoke, &Revoke{mesh, alice.Public(), RevokeKey, bob.Public(), nil, 1700000200, "lost laptop"}, []*crypto.PrivateKey{alice}},
		{v.Hello, &HelloAuth{mesh, alice.Public(), crypto.PublicKey{}, "b.example:7900", nonce, 1700000000000, []string{"host", "trust"}, instance},
			[]*crypto.PrivateKey{alice}},
		{v.SessionHello, &HelloAuth{mesh, alice.Public(), session.Public(), "b.example:7900", nonce, 1700000000000, []string{"trust"}, instance},
			[]*crypto.PrivateKey{alice, session}},
	} {
		t.Run(c.body.kind(), func(t *testing.T) { testVector(t, mesh, c.want, c.body, c.keys) })
	}

	cert := mustSign(t, &Cert{mesh, owner.Public(), alice.Public(), "alice", RoleAdmin, 1700000000}, owner)
	digest := NewView(mustSign(t, charter, owner), []*Statement{cert}, Pins{}).Digest()
	if got := hex.EncodeToString(digest[:]); got != v.LogDigest {
		t.Errorf("log digest %s, want %s", got, v.LogDigest)
	}
	if got := Fingerprint(mesh, alice.Public()); got != v.FpAlice {
		t.Errorf("fingerprint %s, want %s", got, v.FpAlice)
	}
}

// testVector wants body to be encoded, named and signed as in the vector, and the vector to be parsed to body.
func testVector(t *testing.T, mesh MeshID, want statementVector, body Body, keys []*crypto.PrivateKey) {
	s, err := Sign(body, keys...)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(s.Raw()), want.Block+strings.Join(want.Sigs, ""); got != want {
		t.Errorf("statement\n%s, want\n%s", got, want)
	}
	if s.ID.String() != want.ID {
		t.Errorf("id %s, want %s", s.ID, want.ID)
	}
	if s.Mesh() != mesh {
		t.Errorf("mesh %s, want %s", s.Mesh(), mesh)
	}
	parsed, err := ParseTextIn(mesh, s.Text())
	if err != nil {
		t.Fatal(err)
	}
	again, err := encodeBody(parsed.Body)
	if err != nil || hex.EncodeToString(again) != want.Block {
		t.Errorf("parsed and encoded again: %x, %v", again, err)
	}
}

func TestLinkVector(t *testing.T) {
	v := readTrustVectors(t)
	link, err := ParseLink(LinkPrefix + v.Link)
	if err != nil {
		t.Fatal(err)
	}
	if link.Invite.ID.String() != v.Invite.ID || link.Inv.URL != "wss://b.example/ws" || link.Key.Public() != seeded(9).Public() {
		t.Errorf("the link holds %+v", link.Inv)
	}
	if got := MakeLink(link.Invite, seeded(9).Seed()); got != LinkPrefix+v.Link {
		t.Errorf("made again it is %s", got)
	}
}

func mustSign(t testing.TB, b Body, keys ...*crypto.PrivateKey) *Statement {
	t.Helper()
	s, err := Sign(b, keys...)
	if err != nil {
		t.Fatalf("sign %+v: %v", b, err)
	}
	return s
}
