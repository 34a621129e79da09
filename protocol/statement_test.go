package protocol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
)

const testMesh MeshID = "0VJW4Te4PbxnMUrzthI6N0nwT3rVsN4T"

// signed is a body with the keys that sign it.
type signed struct {
	body Body
	keys []*crypto.PrivateKey
}

// samples has a good body of every kind.
func samples() map[string]signed {
	owner, alice, bob, session, link := seeded(1), seeded(2), seeded(3), seeded(4), seeded(9)
	by := func(keys ...*crypto.PrivateKey) []*crypto.PrivateKey { return keys }
	o, a, b, s, l := owner.Public(), alice.Public(), bob.Public(), session.Public(), link.Public()
	return map[string]signed{
		KindCharter: {&Charter{Owner: o, Recovery: b, Created: 1700000000, Slug: "demo"}, by(owner)},
		KindOwner:   {&OwnerChange{testMesh, o, 1, a, b, []ID{{1}, {2}}}, by(owner)},
		KindCert:    {&Cert{testMesh, o, a, "alice", RoleAdmin, 1700000000}, by(owner)},
		KindRevoke:  {&Revoke{testMesh, a, RevokeKey, b, []ID{{1}}, 1700000200, "lost laptop"}, by(alice)},
		KindInvite:  {&Invite{testMesh, a, l, RoleMember, 1, 1900000000, "wss://b.example/ws", o}, by(alice)},
		KindEnrol:   {&Enrol{testMesh, l, b, "bob", 1700000100}, by(link, bob)},
		KindSession: {&Session{testMesh, a, s, "web", []string{"backend"}, []string{"files"}, 1700000000000, 1700043200000}, by(alice, session)},
		KindAPIKey:  {&APIKey{testMesh, a, s, "ci", []string{"send"}, []string{"deploys"}, 1700000000000, 0}, by(alice, session)},
		KindHello:   {&HelloAuth{testMesh, a, s, "b.example:7900", [32]byte{1}, 1700000000000, []string{"files"}, [8]byte{1}}, by(alice, session)},
		KindOp:      {&Op{testMesh, a, [32]byte{1}, "peer.rename", []byte(`{"name":"al"}`)}, by(alice)},

		KindBlobPass: {&BlobPass{testMesh, a, "b.example:7900", b, BlobID{1}, 1700000000000, BlobGet, []byte(`{}`)}, by(alice)},
	}
}

// rawFields returns the fields of b as they stand in its block.
func rawFields(b Body) [][]byte {
	f := &fields{ctx: b.kind()}
	b.visit(f)
	return f.all
}

// signRaw signs fields under a context as they are, good or not.
func signRaw(ctx string, all [][]byte, keys ...*crypto.PrivateKey) []byte {
	block := EncodeBlock(ctx, all...)
	raw := slices.Clone(block)
	for _, k := range keys {
		sig := k.Sign(block)
		raw = append(raw, sig[:]...)
	}
	return raw
}

func wantCode(t *testing.T, err error, code Code) {
	t.Helper()
	if CodeOf(err) != code {
		t.Errorf("error %v (%s), want %s", err, CodeOf(err), code)
	}
	if err != nil && (err.Error() == "" || strings.ContainsAny(err.Error(), "\x00\x1b\n\r")) {
		t.Errorf("error %q is not a sentence", err)
	}
}

func TestSamplesRoundTrip(t *testing.T) {
	for kind, c := range samples() {
		s := mustSign(t, c.body, c.keys...)
		if s.Kind != kind || s.Signer() != c.keys[0].Public() {
			t.Errorf("%s: kind %s, signer %s", kind, s.Kind, s.Signer().Short())
		}
		parsed, err := Parse(s.Raw())
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if got, want := fmt.Sprintf("%+v", parsed.Body), fmt.Sprintf("%+v", c.body); got != want {
			t.Errorf("%s: parsed %s, want %s", kind, got, want)
		}
		if n := len(rawFields(c.body)); n != bodies[kind].fields {
			t.Errorf("%s: visits %d fields, the table says %d", kind, n, bodies[kind].fields)
		}
	}
}

// Values that a rule accepts (yes) and refuses (no), as they stand in the field.
type values struct{ yes, no [][]byte }

func text(s ...string) (b [][]byte) {
	for _, s := range s {
		b = append(b, []byte(s))
	}
	return b
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// list encodes items as they come.
func list(items ...string) (b []byte) {
	for _, s := range items {
		b = appendItem(b, []byte(s))
	}
	return b
}

// counted are n different texts in their order.
func counted(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%03d", i))
	}
	return all
}

var (
	bad32 = [][]byte{nil, make([]byte, 31), make([]byte, 33)}
	zero  = make([]byte, 32)
	two   = append([]byte{2}, make([]byte, 31)...) // not on the curve
	one   = append([]byte{1}, make([]byte, 31)...) // of small order

	meshes  = values{text(string(testMesh)), text("", "0VJW4Te4PbxnMUrzthI6N0nwT3rVsN4", "0VJW4Te4PbxnMUrzthI6N0nwT3rVsN4TT", "0VJW4Te4PbxnMUrzthI6N0nwT3rVsN4-")}
	keys    = values{nil, append(slices.Clone(bad32), zero)}
	anyKeys = values{[][]byte{two, one}, append(slices.Clone(bad32), zero)}
	members = values{nil, append(slices.Clone(bad32), zero, one, two, bytes.Repeat([]byte{255}, 32))}
	maybe   = values{[][]byte{nil, two}, append(slices.Clone(bad32[1:]), zero)}
	ours    = values{nil, append(slices.Clone(bad32[1:]), zero, one, two)}
	numbers = values{[][]byte{number(0), number(1<<53 - 1)}, [][]byte{nil, make([]byte, 7), make([]byte, 9), number(1 << 53), number(1<<64 - 1)}}
	seconds = values{[][]byte{number(0), number(MaxSeconds)}, [][]byte{nil, make([]byte, 7), number(MaxSeconds + 1), number(1<<53 - 1)}}
	millis  = values{[][]byte{number(0), number(MaxMillis)}, [][]byte{nil, make([]byte, 9), number(MaxMillis + 1), number(1<<53 - 1)}}
	labels  = values{text("a", "0", "a.b_c-d", "20241001", strings.Repeat("a", 32)),
		text("", "A", ".a", "-a", "_a", "a b", "a/b", "ä", "a\x00", strings.Repeat("a", 33))}
	names = values{text("a", "0", "a.b_c-d", "cafe5", "facade-1", "facades", strings.Repeat("z", 32)),
		text("123456", "facade", strings.Repeat("a", 32), "", "A", ".a", "-a", "_a", "a b", "a/b", "ä", "a\x00", strings.Repeat("a", 33))}
	slugs  = values{text("a", "0-a", strings.Repeat("a", 32)), text("", "A", "-a", "a.b", "a_b", strings.Repeat("a", 33))}
	roles  = values{text("admin", "member"), text("", "owner", "Admin", "member ")}
	groups = values{[][]byte{nil, list("a"), list("a", "a/b.c_d-e", strings.Repeat("b", 64)), list(counted(MaxListed)...)},
		[][]byte{list(counted(MaxListed + 1)...), list("b", "a"), list("a", "a"), list(""), list("A"), list("/a"), list("a b"), list(strings.Repeat("b", 65)), list("a")[:4], {0, 0, 0}, {255, 255, 255, 255, 'a'}}}
	features = values{[][]byte{nil, list("_", "a", "b_2", strings.Repeat("c", 32)), list(counted(MaxListed)...)},
		[][]byte{list(counted(MaxListed + 1)...), list("b", "a"), list("a", "a"), list(""), list("A"), list("a-b"), list(strings.Repeat("c", 33)), {1}}}
	keeps = values{[][]byte{nil, list(string(one), string(two))},
		[][]byte{list(string(two), string(one)), list(string(one), string(one)), list("short"), list(string(one) + "x"), {0}}}
	fixed = func(n int) values {
		return values{[][]byte{make([]byte, n)}, [][]byte{nil, make([]byte, n-1), make([]byte, n+1)}}
	}
	reasons = values{text("", " ", "lost ~ laptop", strings.Repeat("x", 200)), text("\n", "a\tb", "é", "\x7f", strings.Repeat("x", 201))}
)

func TestFieldRules(t *testing.T) {
	table := map[string][]values{
		KindCharter: {keys, maybe, seconds, fixed(16), slugs},
		KindOwner:   {meshes, keys, numbers, anyKeys, maybe, keeps},
		KindCert:    {meshes, keys, members, names, roles, seconds},
		KindRevoke: {meshes, keys, {text("key", "admin", "link"), text("", "Key", "keys")},
			anyKeys, keeps, seconds, reasons},
		KindInvite: {meshes, keys, anyKeys, roles,
			{[][]byte{number(1), number(1000)}, [][]byte{nil, number(0), number(1001), make([]byte, 7)}}, seconds,
			{text("ws://h", "wss://h:1/ws", "wss://"+strings.Repeat("h", 250)),
				text("", "wss://", "ws://", "https://h", "WSS://h", "wss://a b", "wss://a|b", "wss://ä", "wss://a\n", "wss://"+strings.Repeat("h", 251))},
			anyKeys},
		KindEnrol:   {meshes, keys, members, names, seconds},
		KindSession: {meshes, members, members, labels, groups, features, millis, millis},
		KindAPIKey:  {meshes, members, members, labels, features, groups, millis, millis},
		KindHello: {meshes, members, ours,
			{text("h", "a.b-c_d:1", "127.0.0.1:65535", "[::1]", "[::1]:80", strings.Repeat("h", 253)),
				text("", ":80", "H", "h:", "h:0", "h:01", "h:65536", "h:+1", "h:x", "h/", "a:b:1", "[]", "[::1", "::1]", "[x]", "h ", strings.Repeat("h", 254))},
			fixed(32), millis, features, fixed(8)},
		KindOp: {meshes, keys, fixed(32), reasons, {text("{}", "null", `{"a":[1]}`), text("", "{", "{}{}", "x")}},
		KindBlobPass: {meshes, members, {text("h", "[::1]:80"), text("", "H", "h:0")}, anyKeys, fixed(16), millis, reasons,
			{text("{}", `{"a":[1]}`), text("", "{", "x")}},
	}
	for kind, c := range samples() {
		if len(table[kind]) != bodies[kind].fields {
			t.Fatalf("%s: the table has rules for %d fields of %d", kind, len(table[kind]), bodies[kind].fields)
		}
		for i, v := range table[kind] {
			try := func(value []byte) error {
				all := rawFields(c.body)
				all[i] = value
				_, err := Parse(signRaw(kind, all, c.keys...))
				return err
			}
			for _, value := range v.yes {
				if err := try(value); err != nil {
					t.Errorf("%s: field %d refuses %q: %v", kind, i, value, err)
				}
			}
			for _, value := range v.no {
				if err := try(value); CodeOf(err) != CodeBadStatement {
					t.Errorf("%s: field %d with %q: error %v, want %s", kind, i, value, err, CodeBadStatement)
				} else {
					wantCode(t, err, CodeBadStatement)
				}
			}
		}
	}
}

func TestHelloSigner(t *testing.T) {
	h := samples()[KindHello].body.(*HelloAuth)
	control := *h
	control.Session = crypto.PublicKey{}
	mustSign(t, &control, seeded(2))
	_, err := Sign(&control, seeded(4))
	wantCode(t, err, CodeBadSignature)
	_, err = Sign(h, seeded(2)) // with a session the member does not sign
	wantCode(t, err, CodeBadSignature)
}

func TestFrame(t *testing.T) {
	c := samples()[KindCert]
	good := mustSign(t, c.body, c.keys...).Raw()
	all := rawFields(c.body)
	other := slices.Clone(good)
	other[len(other)-1] ^= 1
	bent := slices.Clone(good)
	bent[len(magic)-2] = '2'
	for _, test := range []struct {
		name string
		raw  []byte
		code Code
	}{
		{"nothing", nil, CodeBadStatement},
		{"magic alone", []byte(magic), CodeBadStatement},
		{"another version", bent, CodeBadStatement},
		{"one byte less", good[:len(good)-1], CodeBadStatement},
		{"one byte more", append(slices.Clone(good), 0), CodeBadStatement},
		{"one signature more", append(slices.Clone(good), good[len(good)-64:]...), CodeBadStatement},
		{"no signature", good[:len(good)-64], CodeBadStatement},
		{"one field less", signRaw(KindCert, all[:5], c.keys...), CodeBadStatement},
		{"one field more", signRaw(KindCert, append(all, nil), c.keys...), CodeBadStatement},
		{"another kind", signRaw("certs", all, c.keys...), CodeBadStatement},
		{"a message", signRaw("msg", all[:2], c.keys...), CodeBadStatement},
		{"longer than 64 KiB", append(slices.Clone(good), make([]byte, MaxStatement)...), CodeBadStatement},
		{"another signature", other, CodeBadSignature},
		{"somebody else's signature", signRaw(KindCert, all, seeded(3)), CodeBadSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse(test.raw)
			wantCode(t, err, test.code)
		})
	}
}

// Both signatures of a statement with two signers are asked for, in their order.
func TestTwoSigners(t *testing.T) {
	for _, kind := range []string{KindEnrol, KindSession, KindAPIKey, KindHello} {
		c := samples()[kind]
		all := rawFields(c.body)
		for _, keys := range [][]*crypto.PrivateKey{
			{c.keys[0], c.keys[0]}, {c.keys[1], c.keys[1]}, {c.keys[1], c.keys[0]},
		} {
			_, err := Parse(signRaw(kind, all, keys...))
			wantCode(t, err, CodeBadSignature)
		}
		_, err := Sign(c.body, c.keys[0])
		wantCode(t, err, CodeBadSignature)
		for _, keys := range [][]*crypto.PrivateKey{nil, {c.keys[0]}, {c.keys[1]}, {c.keys[0], c.keys[1], c.keys[1]}} {
			_, err := Parse(signRaw(kind, all, keys...))
			wantCode(t, err, CodeBadStatement)
		}
	}
	// The hello of a control connection has one.
	hello := *samples()[KindHello].body.(*HelloAuth)
	hello.Session = crypto.PublicKey{}
	mustSign(t, &hello, seeded(2))
	_, err := Parse(signRaw(KindHello, rawFields(&hello), seeded(2), seeded(4)))
	wantCode(t, err, CodeBadStatement)
}

// The checks come in the order of the protocol: the cheap before the dear, and the mesh before the signatures.
func TestOrderOfChecks(t *testing.T) {
	c := samples()[KindCert]
	all := rawFields(c.body)
	other := MeshID(strings.Repeat("1", 32))
	badlySigned := signRaw(KindCert, all, seeded(3))
	_, err := ParseIn(other, badlySigned)
	wantCode(t, err, CodeForeign)
	_, err = ParseIn(testMesh, badlySigned)
	wantCode(t, err, CodeBadSignature)
	all[3] = []byte("Alice")
	_, err = ParseIn(other, signRaw(KindCert, all, c.keys...))
	wantCode(t, err, CodeBadStatement)
	charter := mustSign(t, samples()[KindCharter].body, seeded(1))
	if _, err := ParseIn(charter.Mesh(), charter.Raw()); err != nil {
		t.Errorf("charter of its own mesh: %v", err)
	}
	_, err = ParseIn(other, charter.Raw())
	wantCode(t, err, CodeForeign)
}

// R = identity verifies in crypto/ed25519 and not in libsodium: a mesh must not split by build.
func TestIdentityR(t *testing.T) {
	c := samples()[KindRevoke]
	raw := mustSign(t, c.body, c.keys...).Raw()
	bent := slices.Clone(raw)
	copy(bent[len(bent)-64:], append([]byte{1}, make([]byte, 31)...))
	_, err := Parse(bent)
	wantCode(t, err, CodeBadSignature)
}

func TestParseText(t *testing.T) {
	c := samples()[KindCert]
	s := mustSign(t, c.body, c.keys...)
	if got, err := ParseText(s.Text()); err != nil || got.ID != s.ID {
		t.Fatalf("its own text: %v", err)
	}
	for _, bad := range []string{
		s.Text() + "=", s.Text() + "\n", "\r" + s.Text(), s.Text()[:10] + "\n" + s.Text()[10:], " " + s.Text(),
		s.Text()[:len(s.Text())-1], strings.Repeat("A", 1<<20), "", "+/",
	} {
		_, err := ParseText(bad)
		wantCode(t, err, CodeBadStatement)
	}
}

// A statement at the limit passes, one beyond does not, whichever side it comes from.
func TestStatementSize(t *testing.T) {
	op := samples()[KindOp].body.(*Op)
	op.JSON = []byte(`""`)
	room := MaxStatement - len(mustSign(t, op, seeded(2)).Raw())
	op.JSON = []byte(`"` + strings.Repeat("x", room) + `"`)
	if got := len(mustSign(t, op, seeded(2)).Raw()); got != MaxStatement {
		t.Fatalf("statement of %d bytes, want %d", got, MaxStatement)
	}
	op.JSON = append(op.JSON, ' ')
	_, err := Sign(op, seeded(2))
	wantCode(t, err, CodeBadStatement)
	_, err = Parse(signRaw(KindOp, rawFields(op), seeded(2)))
	wantCode(t, err, CodeBadStatement)
}

func TestSignRefusesBadBodies(t *testing.T) {
	cert := samples()[KindCert].body.(*Cert)
	cert.Name = "Alice"
	_, err := Sign(cert, seeded(1))
	wantCode(t, err, CodeBadStatement)
	_, err = Sign(&OwnerChange{Mesh: testMesh, By: seeded(1).Public(), New: seeded(2).Public(), N: 1 << 53}, seeded(1))
	wantCode(t, err, CodeBadStatement)
	_, err = Sign(&Cert{Mesh: testMesh, Issuer: seeded(1).Public(), Member: seeded(2).Public(), Name: "a", Role: RoleMember, Issued: -1}, seeded(1))
	wantCode(t, err, CodeBadStatement)
	_, err = Sign(&OwnerChange{Mesh: testMesh, New: seeded(2).Public()}, seeded(1))
	wantCode(t, err, CodeBadStatement)
	if (&Charter{}).MeshID() != "" {
		t.Error("an empty charter has a mesh id")
	}
}

func TestSignOrdersLists(t *testing.T) {
	s := samples()[KindSession].body.(*Session)
	s.Groups = []string{"b", "a", "b"}
	got := mustSign(t, s, seeded(2), seeded(4)).Body.(*Session)
	if !slices.Equal(got.Groups, []string{"a", "b"}) || !got.HasGroup("a") || got.HasGroup("c") {
		t.Errorf("groups %v", got.Groups)
	}
	if !slices.Equal(s.Groups, []string{"b", "a", "b"}) {
		t.Errorf("the caller's list became %v", s.Groups)
	}
}

func TestStatementsKeepTheirBytes(t *testing.T) {
	c := samples()[KindCert]
	raw := slices.Clone(mustSign(t, c.body, c.keys...).Raw())
	s, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	raw[0] = 'X'
	if s.Raw()[0] != 'c' {
		t.Error("a statement shares the bytes that it was parsed from")
	}
}

func TestParseID(t *testing.T) {
	id := ID{1, 2, 255}
	if got, err := ParseID(id.String()); err != nil || got != id {
		t.Errorf("%s: %v", id, err)
	}
	for _, bad := range []string{"", id.String()[1:], strings.ToUpper(id.String()), id.String() + "0"} {
		_, err := ParseID(bad)
		wantCode(t, err, CodeInvalid)
	}
}
