package protocol

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// What CLI 0.1.4 and 1.37 signed against the original broker.
const (
	recordedLink    = `{"v":1,"mesh_id":"8H0boUszP2pcBA8ohQchAsGHcrLYDCVg","mesh_slug":"smoke-test","broker_url":"ws://127.0.0.1:7911/ws","expires_at":1795295631,"mesh_root_key":"c21va2UtdGVzdC1tZXNoLXJvb3Qta2V5LWRldg","role":"member","owner_pubkey":"8a1c516fbf972f3ea873a83f07cce90906dce10895eb8f5c2d11e72f820efd40","signature":"a3a5e83bcbba92ac8439e9766de6e71a40806ebafdf2d4f64c85c3ed3e0f46ea83024ca195cee7548e60211fc7dfd26706c5b7ab3696abda0b32aa8f8e8fca0c"}`
	recordedAttest  = `{"sessionPubkey":"b891934963bede9f7d4bb1deb8d8967ba2c211d8241ed1c30843219093850ab0","parentMemberPubkey":"c4b32dfc7763a703c536e49b5252d9d115ade8b0efd9da60a58a41b0953ecf51","expiresAt":1795335342436,"signature":"405222af58b1535a47baadc118ecf7b6b8f3f4382058da66f9383b27c7335add4b10bc12904431c236b52553e040e6885ca5ee880bd2f8dcf61d698878275207"}`
	recordedHelloBy = "e52493026aadf4ce6f4ac7be90ae855bd057bc0d6505a9d53a7ecea0a7187b2d"
	recordedHello   = "790606cf26b0931f7169e4ccebdd6e4fbf5ae556b1addb9824ca9d0fd8fed9d5be0c2055df178ca2718973c00f7377dca6f524f707e4eaa5e280abd2e970080a"
)

func TestRecordedLegacySignatures(t *testing.T) {
	var link LegacyInvite
	if err := json.Unmarshal([]byte(recordedLink), &link); err != nil || !link.Verify() {
		t.Errorf("the recorded link does not verify: %v", err)
	}
	link.Role = RoleAdmin
	if link.Verify() {
		t.Error("a link of another role verifies")
	}
	var att LegacyAttestation
	if err := json.Unmarshal([]byte(recordedAttest), &att); err != nil || !att.Verify() {
		t.Errorf("the recorded attestation does not verify: %v", err)
	}
	hello := func(member string) bool {
		return VerifyLegacyHello("8H0boUszP2pcBA8ohQchAsGHcrLYDCVg", member, recordedHelloBy, 1795292033493, recordedHello)
	}
	if !hello("nEjOegqBkXtSnJQBkuaSXB8HKRTlgq5J") {
		t.Error("the recorded hello does not verify")
	}
	if hello("mKzE2ntYbs24I8zrETHvN1G1EvlLsd6k") {
		t.Error("a hello of another member verifies")
	}
}

func TestLegacyToken(t *testing.T) {
	owner := crypto.GenerateKey()
	token, err := MakeLegacyInvite(testMesh, "acme", "wss://relay.example/ws", 1795295631, owner)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ParseLegacyToken(token)
	if err != nil {
		t.Fatal(err)
	}
	if root, err := base64.RawURLEncoding.DecodeString(l.RootKey); err != nil || len(root) != 32 || l.Role != RoleMember || l.Owner != owner.Public().String() {
		t.Errorf("link %+v", l)
	}
	other, _ := MakeLegacyInvite(testMesh, "acme", "wss://relay.example/ws", 1795295631, owner)
	if other == token {
		t.Error("two links of one second are the same")
	}
	for _, bad := range []string{"", "x", token[1:], token[:len(token)-4], base64.RawURLEncoding.EncodeToString([]byte(recordedLink[:40]))} {
		if _, err := ParseLegacyToken(bad); err == nil {
			t.Errorf("%q is a link", bad)
		}
	}
}

func TestBare(t *testing.T) {
	alice, bob := crypto.GenerateKey(), crypto.GenerateKey()
	shared, err := alice.Shared(bob.Public())
	if err != nil {
		t.Fatal(err)
	}
	nonce, box, err := SealBare([]byte("hi"), &shared)
	if err != nil {
		t.Fatal(err)
	}
	o := &Opener{Mesh: testMesh, Now: time.Unix(1795292033, 0), Member: alice.Public(), Shared: func(_, peer crypto.PublicKey) (crypto.Key, error) { return alice.Shared(peer) }}
	in := Incoming{
		Sender: bob.Public().String(), Target: alice.Public().String(), Priority: PriorityNext,
		Nonce: base64.StdEncoding.EncodeToString(nonce), Ciphertext: base64.StdEncoding.EncodeToString(box),
	}
	b, err := o.OpenBare(in, bob.Public(), "~bob")
	if err != nil {
		t.Fatal(err)
	}
	if text, trust := b.Message.Text(); text != "hi" || trust != TrustUnverified || b.Message.Name() != "~bob" {
		t.Errorf("opened %q, %s", text, trust)
	}
	if b.ID != BareID(bob.Public(), nonce, box) {
		t.Error("the id is not that of sender, nonce and box")
	}
	stored, err := b.Message.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var again Message
	if err := again.UnmarshalBinary(stored); err != nil {
		t.Fatal(err)
	}
	if text, trust := again.Text(); text != "hi" || trust != TrustUnverified {
		t.Errorf("stored as %q, %s", text, trust)
	}
	if _, _, err := SealBare([]byte("\x00cm2"), &shared); CodeOf(err) != CodeInvalid {
		t.Errorf("text with a zero byte in front: %v", err)
	}
	in.Sender = crypto.GenerateKey().Public().String()
	if _, err := o.OpenBare(in, bob.Public(), "~bob"); CodeOf(err) != CodeAlarm {
		t.Errorf("a box of another key: %v", err)
	}
}

func TestClear(t *testing.T) {
	alice, bob := crypto.GenerateKey(), crypto.GenerateKey()
	nonce := crypto.NewNonce()
	o := &Opener{Mesh: testMesh, Now: time.Unix(1795292033, 0), Member: alice.Public()}
	b, err := o.OpenBare(Incoming{
		Sender: bob.Public().String(), Target: "*", Priority: PriorityNext,
		Nonce: base64.StdEncoding.EncodeToString(nonce[:]), Ciphertext: base64.StdEncoding.EncodeToString([]byte("broadcast")),
	}, bob.Public(), "~bob")
	if err != nil {
		t.Fatal(err)
	}
	if text, trust := b.Message.Text(); text != "broadcast" || trust != TrustUnverified || !b.Message.Group() {
		t.Errorf("opened %q, %s", text, trust)
	}
}

func TestLegacyName(t *testing.T) {
	for in, want := range map[string]string{
		"vm-9171": "vm-9171", "Alice Smith": "alice-smith", "  ": "nobody", "../x": "x", "\u202ebob": "bob", "élan": "lan",
		"a b!": "a-b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	} {
		if got := LegacyName(in); got != want || !ValidName(got) {
			t.Errorf("%q is called %q, want %q", in, got, want)
		}
	}
}
