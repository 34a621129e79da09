package trust

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// founder is the owner of a mesh, who signs.
type founder struct {
	testing.TB
	owner   *crypto.PrivateKey
	charter *protocol.Statement
}

func (w *founder) sign(b protocol.Body, keys ...*crypto.PrivateKey) *protocol.Statement {
	w.Helper()
	s, err := protocol.Sign(b, keys...)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *founder) certify(key crypto.PublicKey, name, role string) *protocol.Statement {
	w.Helper()
	return w.sign(&protocol.Cert{
		Mesh: w.charter.Mesh(), Issuer: w.owner.Public(), Member: key, Name: name, Role: role, Issued: time.Now().Unix(),
	}, w.owner)
}

func (w *founder) ban(target crypto.PublicKey) *protocol.Statement {
	w.Helper()
	return w.sign(&protocol.Revoke{
		Mesh: w.charter.Mesh(), Issuer: w.owner.Public(), Kind: protocol.RevokeKey, Target: target, At: time.Now().Unix(),
	}, w.owner)
}

// trusting is the trust state of a reader of w's mesh, on a store of its own.
func (w *founder) trusting(path string, now func() time.Time) (*State, *store.DB) {
	w.Helper()
	db, err := table.Open(path)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { db.Close() })
	t, err := Load(db, w.charter.Mesh(), now, w.charter)
	if err != nil {
		w.Fatal(err)
	}
	return t, db
}

// beliefs is all that a merge may change.
func beliefs(t *State) [3]any {
	t.mu.Lock()
	defer t.mu.Unlock()
	return [3]any{t.view.Digest(), len(t.set.Statements()), len(t.names)}
}

// What could not be committed is not believed: no name, no ban, and no closing of a link that a restart would have forgotten.
func TestTrustIsNotAheadOfTheDisk(t *testing.T) {
	owner := crypto.GenerateKey()
	w := &founder{TB: t, owner: owner}
	w.charter = w.sign(&protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "acme"}, owner)
	bob, cathy := crypto.GenerateKey().Public(), crypto.GenerateKey().Public()
	closing := w.sign(&protocol.Revoke{
		Mesh: w.charter.Mesh(), Issuer: owner.Public(), Kind: protocol.RevokeLink, Target: crypto.GenerateKey().Public(), At: 1, Reason: "used up",
	}, owner)
	path := filepath.Join(t.TempDir(), "daemon.db")
	trust, db := w.trusting(path, func() time.Time { return time.Unix(100, 0) })
	if _, err := trust.Merge(w.certify(bob, "bob", protocol.RoleMember), closing); err != nil {
		t.Fatal(err)
	}
	before, view := beliefs(trust), trust.View()

	if err := db.Close(); err != nil { // every commit fails from here on
		t.Fatal(err)
	}
	c, err := trust.Merge(w.ban(bob), w.certify(cathy, "cathy", protocol.RoleMember))
	if err == nil || len(c.Added) != 0 || len(c.Revoked) != 0 || c.Members {
		t.Errorf("merged without a disk: %+v, %v", c, err)
	}
	trust.now = func() time.Time { return time.Unix(1, 0).Add(protocol.RevokedLinkMemory + time.Second) }
	if err := trust.Sweep(); err == nil {
		t.Error("swept without a disk")
	}
	session := crypto.GenerateKey()
	if _, err := trust.Learn([]*protocol.Statement{w.sessionOf(crypto.GenerateKey(), session, 1)}, nil); err == nil || trust.Session(session.Public()) != nil {
		t.Errorf("learned without a disk: %v", err)
	}
	if after := beliefs(trust); after != before || trust.View() != view {
		t.Errorf("believed %v, want %v", after, before)
	}
	if !trust.View().Verified(bob) || trust.View().Verified(cathy) {
		t.Error("what was not committed is believed")
	}
	again, _ := w.trusting(path, time.Now)
	if after := beliefs(again); after != before {
		t.Errorf("after a restart %v, want %v", after, before)
	}
}

func (w *founder) sessionOf(member, session *crypto.PrivateKey, issued int64) *protocol.Statement {
	w.Helper()
	return w.sign(&protocol.Session{
		Mesh: w.charter.Mesh(), Member: member.Public(), Session: session.Public(), Label: "web", Issued: issued, Expires: issued + 1000,
	}, member, session)
}

// Closings of links go after 60 days, in memory and on disk. Bans stay.
func TestOldClosingsAreForgotten(t *testing.T) {
	owner := crypto.GenerateKey()
	w := &founder{TB: t, owner: owner}
	w.charter = w.sign(&protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "acme"}, owner)
	closing := w.sign(&protocol.Revoke{
		Mesh: w.charter.Mesh(), Issuer: owner.Public(), Kind: protocol.RevokeLink, Target: crypto.GenerateKey().Public(), At: 1, Reason: "used up",
	}, owner)
	ban := w.ban(crypto.GenerateKey().Public())
	path, now := filepath.Join(t.TempDir(), "daemon.db"), time.Unix(1, 0).Add(protocol.RevokedLinkMemory)
	trust, db := w.trusting(path, func() time.Time { return now })
	if _, err := trust.Merge(closing, ban); err != nil {
		t.Fatal(err)
	}
	if err := trust.Sweep(); err != nil || len(trust.Statements()) != 2 {
		t.Fatalf("on the day: %d, %v", len(trust.Statements()), err)
	}
	now = now.Add(time.Second)
	if err := trust.Sweep(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, _ := w.trusting(path, time.Now)
	for _, s := range []*State{trust, again} {
		if got := s.Statements(); !slices.Equal(ids(got), []protocol.ID{ban.ID}) {
			t.Errorf("%d statements are left", len(got))
		}
	}
}

func ids(statements []*protocol.Statement) (ids []protocol.ID) {
	for _, s := range statements {
		ids = append(ids, s.ID)
	}
	return ids
}

// A list with two statements for one session is read in any order: the newest counts.
func TestNewestSessionOfOneList(t *testing.T) {
	owner, bob, web := crypto.GenerateKey(), crypto.GenerateKey(), crypto.GenerateKey()
	w := &founder{TB: t, owner: owner}
	w.charter = w.sign(&protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "acme"}, owner)
	trust, _ := w.trusting(filepath.Join(t.TempDir(), "daemon.db"), time.Now)
	old, young := w.sessionOf(bob, web, 1), w.sessionOf(bob, web, 2)
	if _, err := trust.Learn([]*protocol.Statement{young, old}, nil); err != nil {
		t.Fatal(err)
	}
	if trust.Session(web.Public()) != young {
		t.Error("the older statement replaced the newer one")
	}
}

// Bob's sessions come and go. What is known of them stays bounded, on the disk too: who lives and bob himself stay, and the others
// go the oldest first, or when nothing that was sealed to them counts any more. Cathy's few are not concerned.
func TestSessionsOfAMemberAreBounded(t *testing.T) {
	owner, bob, cathy := crypto.GenerateKey(), crypto.GenerateKey(), crypto.GenerateKey()
	w := &founder{TB: t, owner: owner}
	w.charter = w.sign(&protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "acme"}, owner)
	path := filepath.Join(t.TempDir(), "daemon.db")
	trust, db := w.trusting(path, time.Now)
	live, of := crypto.GenerateKey(), crypto.GenerateKey()
	sts := []*protocol.Statement{w.sessionOf(bob, bob, 1), w.sessionOf(bob, live, 2), w.sessionOf(cathy, of, 3)}
	var keys []crypto.PublicKey
	for i := range SessionsKept + 50 {
		key := crypto.GenerateKey()
		keys = append(keys, key.Public())
		sts = append(sts, w.sessionOf(bob, key, 10_000+int64(i)))
	}
	if _, err := trust.Learn(sts, nil); err != nil {
		t.Fatal(err)
	}
	check := func(what string, forgotten int, cathys bool) {
		t.Helper()
		for name, kept := range map[string]bool{"bob": trust.Session(bob.Public()) != nil, "the live one": trust.Session(live.Public()) != nil} {
			if !kept {
				t.Errorf("%s: %s was forgotten", what, name)
			}
		}
		if kept := trust.Session(of.Public()) != nil; kept != cathys {
			t.Errorf("%s: cathy's session is kept: %t", what, kept)
		}
		for i, key := range keys {
			if kept := trust.Session(key) != nil; kept != (i >= forgotten) {
				t.Fatalf("%s: session %d is kept: %t", what, i, kept)
			}
		}
	}
	isLive := func(key crypto.PublicKey) bool { return key == live.Public() }
	if err := trust.ForgetSessions(time.Time{}, isLive); err != nil {
		t.Fatal(err)
	}
	check("beyond the most", 50, true)
	if err := trust.ForgetSessions(time.UnixMilli(11_000+100), isLive); err != nil {
		t.Fatal(err)
	}
	check("expired", 100, false)
	db.Close()
	trust, _ = w.trusting(path, time.Now)
	check("after a restart", 100, false)
}

// Whoever came by one link and is not admitted shares what is kept of sessions with all who came by it, whatever keys they make.
func TestSessionsOfALinkAreBounded(t *testing.T) {
	owner, link := crypto.GenerateKey(), crypto.GenerateKey()
	w := &founder{TB: t, owner: owner}
	w.charter = w.sign(&protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "acme"}, owner)
	trust, _ := w.trusting(filepath.Join(t.TempDir(), "daemon.db"), time.Now)
	invite := w.sign(&protocol.Invite{
		Mesh: w.charter.Mesh(), Issuer: owner.Public(), Link: link.Public(), Role: protocol.RoleMember, Uses: 9, Expires: time.Now().Add(time.Hour).Unix(),
		URL: "wss://broker.example/ws", Owner: owner.Public(),
	}, owner)
	var sts []*protocol.Statement
	var came []Enrolment
	for range 4 {
		stranger := crypto.GenerateKey()
		enrol := w.sign(&protocol.Enrol{Mesh: w.charter.Mesh(), Link: link.Public(), Member: stranger.Public(), Name: "dora", At: time.Now().Unix()}, link, stranger)
		came = append(came, Enrolment{Invite: invite, Enrol: enrol})
		sts = append(sts, w.sessionOf(stranger, stranger, 1))
		for i := range SessionsKept / 2 {
			sts = append(sts, w.sessionOf(stranger, crypto.GenerateKey(), 10+int64(i)))
		}
	}
	if _, err := trust.Learn(sts, came); err != nil {
		t.Fatal(err)
	}
	if err := trust.ForgetSessions(time.Time{}, func(crypto.PublicKey) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if n := len(trust.Sessions()); n != SessionsKept+4 { // and their own
		t.Errorf("%d session statements are kept", n)
	}
}

// A broker puts dora's genuine enrolment behind a link that it signed itself, and invents more of the kind. When the link that alice
// gave dora comes it counts, and what is invented is bounded.
func TestEvilEnrolmentBehindAnInventedLink(t *testing.T) {
	owner, broker, link, dora := crypto.GenerateKey(), crypto.GenerateKey(), crypto.GenerateKey(), crypto.GenerateKey()
	w := &founder{TB: t, owner: owner}
	w.charter = w.sign(&protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "acme"}, owner)
	trust, _ := w.trusting(filepath.Join(t.TempDir(), "daemon.db"), time.Now)
	invite := func(by, link *crypto.PrivateKey) *protocol.Statement {
		return w.sign(&protocol.Invite{
			Mesh: w.charter.Mesh(), Issuer: by.Public(), Link: link.Public(), Role: protocol.RoleMember, Uses: 9, Expires: time.Now().Add(time.Hour).Unix(),
			URL: "wss://broker.example/ws", Owner: owner.Public(),
		}, by)
	}
	enrol := func(link, who *crypto.PrivateKey) *protocol.Statement {
		return w.sign(&protocol.Enrol{Mesh: w.charter.Mesh(), Link: link.Public(), Member: who.Public(), Name: "dora", At: time.Now().Unix()}, link, who)
	}
	learn := func(e ...Enrolment) {
		t.Helper()
		if _, err := trust.Learn(nil, e); err != nil {
			t.Fatal(err)
		}
	}
	forged, genuine := Enrolment{Invite: invite(broker, link), Enrol: enrol(link, dora)}, Enrolment{Invite: invite(owner, link), Enrol: enrol(link, dora)}
	learn(forged)
	learn(genuine)
	learn(forged)
	if got := trust.Enrolments()[dora.Public()]; got.Invite.ID != genuine.Invite.ID {
		t.Error("the forged link of dora stays")
	}
	invented := invite(broker, broker)
	for range unfoundedKept + 20 {
		learn(Enrolment{Invite: invented, Enrol: enrol(broker, crypto.GenerateKey())})
	}
	if n := len(trust.Enrolments()); n != unfoundedKept+1 {
		t.Errorf("%d enrolments are kept, want %d", n, unfoundedKept+1)
	}
	late := crypto.GenerateKey()
	learn(Enrolment{Invite: invite(owner, link), Enrol: enrol(link, late)})
	if _, ok := trust.Enrolments()[late.Public()]; !ok {
		t.Error("what is invented keeps out whom alice invited")
	}
}
