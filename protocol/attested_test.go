package protocol

import (
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
)

func TestAttested(t *testing.T) {
	l := newLetters(t)
	text := l.attest(l.alice, l.aliceWeb, nil)
	a := new(Attested)
	first, err := a.parse(l.mesh, text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.parse(l.mesh, text); err != nil || again != first {
		t.Errorf("verified again: %v", err)
	}
	if _, err := a.parse("another mesh", text); CodeOf(err) != CodeForeign {
		t.Errorf("for another mesh: %v", err)
	}
	// One byte of a signature is another: it is another text.
	forged := text[:len(text)-10] + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, text[len(text)-10:])
	for range 2 {
		if _, err := a.parse(l.mesh, forged); err == nil {
			t.Fatal("a forged attestation is believed")
		}
	}
	if len(a.seen) != 1 {
		t.Errorf("%d remembered", len(a.seen))
	}
	for i := range maxAttested + 10 {
		session := crypto.KeyFromSeed([32]byte{1, byte(i), byte(i >> 8)})
		if _, err := a.parse(l.mesh, l.attest(l.alice, session, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.seen) > maxAttested {
		t.Errorf("%d remembered", len(a.seen))
	}
	var none *Attested
	if s, err := none.parse(l.mesh, text); err != nil || s.ID != first.ID {
		t.Errorf("without memory: %v", err)
	}
}

// What is remembered is the signatures, not that the session is still good: a revoked one is refused.
func TestAttestedAndRevoked(t *testing.T) {
	l := newLetters(t)
	in := l.direct(l.aliceWeb, l.fromSession(to(l.bob), l.attest(l.alice, l.aliceWeb, nil)), "hi").Incoming()
	bob := l.reader(l.bob, nil)
	bob.Attested = new(Attested)
	if _, err := bob.Open(in); err != nil {
		t.Fatal(err)
	}
	gone, err := Sign(&Revoke{Mesh: l.mesh, Issuer: l.alice.Public(), Kind: RevokeKey, Target: l.aliceWeb.Public(), At: 1}, l.alice)
	if err != nil {
		t.Fatal(err)
	}
	bob.View = l.reader(l.bob, nil, gone).View
	if _, err := bob.Open(in); CodeOf(err) != CodeAlarm {
		t.Errorf("a revoked session: %v", err)
	}
}
