package broker

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

func (c *client) publish(sts ...*protocol.Statement) (p protocol.Published) {
	c.w.Helper()
	f := protocol.Publish{Tag: protocol.Tag{Type: protocol.TypePublish}}
	for _, st := range sts {
		f.Statements = append(f.Statements, st.Text())
	}
	c.request(f, protocol.TypePublished, &p)
	return p
}

func (c *client) wantPublished(sts ...*protocol.Statement) {
	c.w.Helper()
	if p := c.publish(sts...); len(p.Refused) > 0 || len(p.Accepted) != len(sts) {
		c.w.Fatalf("%s: published: %+v", c.name, p)
	}
}

func (c *client) wantNotPublished(st *protocol.Statement, code protocol.Code) {
	c.w.Helper()
	p := c.publish(st)
	if len(p.Accepted) != 0 || len(p.Refused) != 1 || p.Refused[0].Code != code || p.Refused[0].ID != st.ID.String() {
		c.w.Fatalf("%s: published: %+v, want %s", c.name, p, code)
	}
}

func TestPublishPushesTheLog(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob, web := w.alice.connect(), w.bob.connect(), w.bob.session("web")
		dora := w.stranger("dora")
		cert := w.sign(&protocol.Cert{
			Mesh: w.mesh, Issuer: w.alice.key.Public(), Member: dora.key.Public(), Name: "dora", Role: protocol.RoleMember, Issued: time.Now().Unix(),
		}, w.alice.key)
		alice.wantPublished(cert)
		var log protocol.Log
		bob.wantFrame(protocol.TypeLog, &log)
		if !slices.Equal(log.Statements, []string{cert.Text()}) || log.Cursor != bob.ack.LogCursor+1 {
			t.Errorf("pushed %+v", log)
		}
		var people protocol.Membership
		raw := bob.take(protocol.TypeMembership, func(raw []byte) bool {
			json.Unmarshal(raw, &people)
			return slices.ContainsFunc(people.Members, func(m protocol.MemberItem) bool { return m.Pubkey == dora.key.Public().String() })
		})
		json.Unmarshal(raw, &people)
		web.wantNone(protocol.TypeLog)
		alice.Send(dora, "welcome")
		dora.connect().Want("welcome")

		alice.wantPublished(cert) // again: accepted, and nobody hears of it
		bob.wantNone(protocol.TypeLog)

		bob.clear() // the closing of a link concerns no member: the log alone tells of it
		closing := w.sign(&protocol.Revoke{Mesh: w.mesh, Issuer: w.owner.Public(), Kind: protocol.RevokeLink, Target: crypto.GenerateKey().Public(),
			At: time.Now().Unix()}, w.owner)
		alice.wantPublished(closing)
		if bob.wantFrame(protocol.TypeLog, &log); !slices.Equal(log.Statements, []string{closing.Text()}) {
			t.Errorf("pushed %+v", log)
		}
	})
}

func TestLogFromACursor(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob := w.bob.connect()
		read := func(after uint64) (log protocol.Log) {
			bob.request(protocol.Log{Tag: protocol.Tag{Type: protocol.TypeLog}, After: after}, protocol.TypeLog, &log)
			return log
		}
		all := read(0)
		if len(all.Statements) != 4 || all.Cursor != 4 || all.More || all.Statements[0] != w.charter.Text() {
			t.Errorf("whole log: %d statements, cursor %d", len(all.Statements), all.Cursor)
		}
		if rest := read(3); !slices.Equal(rest.Statements, all.Statements[3:]) {
			t.Errorf("after 3: %+v", rest)
		}
		if rest := read(4); len(rest.Statements) != 0 || rest.Cursor != 4 {
			t.Errorf("after 4: %+v", rest)
		}
		if rest := read(1 << 60); len(rest.Statements) != 0 {
			t.Errorf("after the end: %+v", rest)
		}
		w.restart()
		bob = w.bob.connect()
		if again := read(0); !slices.Equal(again.Statements, all.Statements) {
			t.Error("the log is another after a restart")
		}
	})
}

func TestWhatIsNotInForceIsNotPublished(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob := w.bob.connect()
		cert := func(issuer *person, role string) *protocol.Statement {
			return w.sign(&protocol.Cert{
				Mesh: w.mesh, Issuer: issuer.key.Public(), Member: crypto.GenerateKey().Public(), Name: "eve", Role: role, Issued: time.Now().Unix(),
			}, issuer.key)
		}
		bob.wantNotPublished(cert(w.bob, protocol.RoleMember), protocol.CodeForbidden)
		bob.wantNotPublished(cert(w.alice, protocol.RoleAdmin), protocol.CodeForbidden)
		bob.wantNotPublished(w.sign(&protocol.Revoke{
			Mesh: w.mesh, Issuer: w.bob.key.Public(), Kind: protocol.RevokeKey, Target: w.cathy.key.Public(), At: 1, Reason: "no",
		}, w.bob.key), protocol.CodeForbidden)
		bob.wantNotPublished(w.cathy.sessionStatement(w.cathy.sessionKey("web"), "web"), protocol.CodeForbidden)
		invite, _ := w.invite(w.stranger("dora"), time.Hour)
		bob.wantNotPublished(invite, protocol.CodeInvalid)
		m := w.srv.mesh(w.mesh)
		m.mu.Lock()
		defer m.mu.Unlock()
		if n := len(m.logAfterLocked(0).Statements); n != 4 {
			t.Errorf("the log has %d statements", n)
		}
	})
}

func TestLeaving(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob, web := w.bob.connect(), w.bob.session("web")
		bob.wantPublished(w.sign(&protocol.Revoke{
			Mesh: w.mesh, Issuer: w.bob.key.Public(), Kind: protocol.RevokeKey, Target: w.bob.key.Public(), At: time.Now().Unix(), Reason: "bye",
		}, w.bob.key))
		bob.wantClose(protocol.CloseBanned)
		web.wantClose(protocol.CloseBanned)
	})
}

func (w *world) join(invite, enrol *protocol.Statement, waitMS int) (int, protocol.JoinReply) {
	w.Helper()
	status, body := w.post("/join", "", protocol.JoinRequest{Invite: invite.Text(), Enrol: enrol.Text(), WaitMS: waitMS})
	var reply protocol.JoinReply
	if err := json.Unmarshal([]byte(body), &reply); err != nil {
		w.Fatalf("join: %s: %v", body, err)
	}
	return status, reply
}

func TestJoining(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		dora := w.stranger("dora")
		invite, enrol := w.invite(dora, time.Hour)
		status, reply := w.join(invite, enrol, 0)
		if status != http.StatusOK || !reply.OK || reply.Statements[0] != w.charter.Text() || len(reply.MemberID) != 32 {
			t.Fatalf("join: %d %+v", status, reply)
		}
		if _, again := w.join(invite, enrol, 0); !again.OK || again.MemberID != reply.MemberID {
			t.Errorf("join again: %+v", again)
		}
		var people protocol.Membership
		alice.take(protocol.TypeMembership, func(raw []byte) bool {
			json.Unmarshal(raw, &people)
			i := slices.IndexFunc(people.Members, func(m protocol.MemberItem) bool { return m.Enrol == enrol.Text() && m.Invite == invite.Text() })
			return i >= 0
		})

		w.restart() // she stays invited
		alice, bob = w.alice.connect(), w.bob.connect()
		c := dora.connect()
		c.Send(w.bob, "let me in")
		bob.Want("let me in")
		c.wantNotQueued(c.sealGroup("*", "hello all", w.bob), protocol.CodeForbidden)
		alice.wantNotQueued(alice.sealGroup("*", "for members", dora), protocol.CodeUnknownRecipient)
		bob.Send(dora, "wait")
		c.Want("wait")

		alice.wantPublished(w.certify(dora, protocol.RoleMember))
		c.wantQueued(c.sealGroup("*", "hello all", w.bob))
		bob.Want("hello all")
	})
}

func TestJoinWaitsForTheCertificate(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		dora := w.stranger("dora")
		invite, enrol := w.invite(dora, time.Hour)
		done := make(chan protocol.JoinReply)
		start := time.Now()
		go func() {
			_, reply := w.join(invite, enrol, 5000)
			done <- reply
		}()
		time.Sleep(time.Second)
		cert := w.certify(dora, protocol.RoleMember)
		alice.wantPublished(cert)
		if reply := <-done; !slices.Contains(reply.Statements, cert.Text()) || time.Since(start) != time.Second {
			t.Errorf("after %s: certificate %t", time.Since(start), slices.Contains(reply.Statements, cert.Text()))
		}
		fred := w.stranger("fred")
		invite, enrol = w.invite(fred, time.Hour)
		start = time.Now()
		go func() {
			_, reply := w.join(invite, enrol, 5000)
			done <- reply
		}()
		time.Sleep(time.Second)
		alice.wantPublished(w.sign(&protocol.Revoke{
			Mesh: w.mesh, Issuer: w.alice.key.Public(), Kind: protocol.RevokeLink, Target: invite.Body.(*protocol.Invite).Link,
			At: time.Now().Unix(), Reason: "closed",
		}, w.alice.key))
		if reply := <-done; reply.OK || reply.Code != protocol.CodeClosedLink || time.Since(start) != time.Second {
			t.Errorf("after %s: %+v", time.Since(start), reply)
		}

		erin := w.stranger("erin")
		invite, enrol = w.invite(erin, time.Hour)
		start = time.Now()
		if _, reply := w.join(invite, enrol, 60_000); !reply.OK || time.Since(start) != defaultJoinWait {
			t.Errorf("held for %s: %+v", time.Since(start), reply)
		}
	})
}

func TestJoinIsRefused(t *testing.T) {
	story(t, Limits{EnrolSlack: 1}, func(w *world) {
		alice := w.alice.connect()
		dora := w.stranger("dora")
		invite, enrol := w.invite(dora, time.Hour)
		want := func(status int, code protocol.Code, invite, enrol *protocol.Statement) {
			t.Helper()
			if got, reply := w.join(invite, enrol, 0); got != status || reply.OK || reply.Code != code {
				t.Errorf("join: %d %+v, want %s", got, reply, code)
			}
		}
		_, other := w.invite(dora, time.Hour)
		want(http.StatusBadRequest, protocol.CodeInvalid, invite, other)
		short, shortEnrol := w.invite(dora, time.Minute)
		time.Sleep(2 * time.Minute)
		want(http.StatusGone, protocol.CodeExpired, short, shortEnrol)

		link := crypto.GenerateKey()
		invite = w.sign(&protocol.Invite{
			Mesh: w.mesh, Issuer: w.bob.key.Public(), Link: link.Public(), Role: protocol.RoleMember, Uses: 1,
			Expires: time.Now().Add(time.Hour).Unix(), URL: "wss://" + testHost + "/ws", Owner: w.owner.Public(),
		}, w.bob.key)
		want(http.StatusForbidden, protocol.CodeForbidden, invite, w.enrol(dora, link))

		invite = w.sign(&protocol.Invite{
			Mesh: w.mesh, Issuer: w.alice.key.Public(), Link: link.Public(), Role: protocol.RoleMember, Uses: 1,
			Expires: time.Now().Add(time.Hour).Unix(), URL: "wss://" + testHost + "/ws", Owner: w.owner.Public(),
		}, w.alice.key)
		for range 2 { // one use and the slack
			if status, reply := w.join(invite, w.enrol(w.stranger("x"), link), 0); status != http.StatusOK {
				t.Errorf("join: %d %+v", status, reply)
			}
		}
		want(http.StatusGone, protocol.CodeUsedUp, invite, w.enrol(dora, link))

		invite, enrol = w.invite(dora, time.Hour)
		alice.wantPublished(w.sign(&protocol.Revoke{
			Mesh: w.mesh, Issuer: w.alice.key.Public(), Kind: protocol.RevokeLink, Target: invite.Body.(*protocol.Invite).Link,
			At: time.Now().Unix(), Reason: "closed",
		}, w.alice.key))
		want(http.StatusGone, protocol.CodeClosedLink, invite, enrol)
	})
}

func TestInvitedLeavesWithTheLink(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		dora := w.stranger("dora")
		invite, enrol := w.invite(dora, time.Hour)
		w.join(invite, enrol, 0)
		c := dora.connect()
		var e protocol.ErrorFrame
		time.Sleep(time.Hour + sweepEvery)
		if c.wantFrame(protocol.TypeError, &e); e.Code != protocol.CodeNotMember {
			t.Errorf("told %+v", e)
		}
		time.Sleep(2 * sweepEvery)
		alice.wantNotQueued(alice.seal(dora.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeUnknownRecipient)
		if w.srv.mesh(w.mesh).members[dora.key.Public()] != nil {
			t.Error("the enrolment is kept")
		}
	})
}

func TestListMembers(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		w.bob.session("web")
		list := func() map[string]protocol.MemberItem {
			var l protocol.MembersList
			alice.request(protocol.Tag{Type: protocol.TypeListMembers}, protocol.TypeMembersList, &l)
			items := make(map[string]protocol.MemberItem)
			for _, m := range l.Members {
				items[m.Pubkey] = m
			}
			return items
		}
		items := list()
		b, c := items[w.bob.key.Public().String()], items[w.cathy.key.Public().String()]
		if len(items) != 3 || !b.Online || len(b.Sessions) != 2 || len(b.Certs) != 1 || c.Online || c.LastSeen != 0 {
			t.Errorf("members: %+v", items)
		}
		time.Sleep(time.Hour + 20*time.Second) // between two sweeps
		seen := time.Now().UnixMilli()
		bob.lose()
		w.restart()
		alice = w.alice.connect()
		if b = list()[w.bob.key.Public().String()]; b.Online || b.LastSeen < seen {
			t.Errorf("bob: %+v, left at %d", b, seen)
		}
	})
}

func TestKick(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob, web := w.alice.connect(), w.bob.connect(), w.bob.session("web")
		op := func(c *client, nonce [32]byte, verb string) protocol.OpFrame {
			args, _ := json.Marshal(map[string]any{"key": w.bob.key.Public()})
			return protocol.OpFrame{Tag: protocol.Tag{Type: protocol.TypeOp}, Statement: w.sign(&protocol.Op{
				Mesh: w.mesh, By: c.key.Public(), Nonce: nonce, Verb: verb, JSON: args,
			}, c.key).Text()}
		}
		bob.wantRefused(op(bob, bob.challenge(), "kick"), protocol.CodeForbidden)
		alice.wantRefused(op(alice, [32]byte{}, "kick"), protocol.CodeUnauthorized)
		alice.wantRefused(op(alice, alice.challenge(), "dance"), protocol.CodeNotSupported)
		kick := op(alice, alice.challenge(), "kick")
		var ok protocol.OK
		alice.request(kick, protocol.TypeOK, &ok)
		bob.wantClose(protocol.CloseKicked)
		web.wantClose(protocol.CloseKicked)
		alice.wantRefused(kick, protocol.CodeUnauthorized) // once
		w.bob.connect()                                    // a kick is no ban
	})
}

func TestOfferedOverHTTP(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob := w.bob.connect()
		status, body := w.post("/api/v1/statements", "", protocol.OfferRequest{Mesh: w.mesh, Statements: []string{w.revoke(w.bob.key.Public()).Text()}})
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		bob.wantClose(protocol.CloseBanned)
		forged := w.sign(&protocol.Revoke{
			Mesh: w.mesh, Issuer: w.bob.key.Public(), Kind: protocol.RevokeKey, Target: w.cathy.key.Public(), At: 1, Reason: "no",
		}, w.bob.key)
		if status, body := w.post("/api/v1/statements", "", protocol.OfferRequest{Mesh: w.mesh, Statements: []string{forged.Text()}}); status != http.StatusForbidden {
			t.Errorf("%d %s", status, body)
		}
	})
}

// The closing of a link is forgotten when every link of its time has expired, by a broker that runs and by its next start; the
// numbers of the others stay what they are.
func TestOldClosingsAreForgotten(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		closing := func(at time.Time) *protocol.Statement {
			return w.sign(&protocol.Revoke{
				Mesh: w.mesh, Issuer: w.alice.key.Public(), Kind: protocol.RevokeLink, Target: crypto.GenerateKey().Public(), At: at.Unix(), Reason: "used up",
			}, w.alice.key)
		}
		old := closing(time.Now().Add(-protocol.RevokedLinkMemory + time.Hour))
		young := closing(time.Now())
		alice.wantPublished(old)
		alice.wantPublished(young)
		held := func() (texts []string, cursor uint64) {
			m := w.srv.mesh(w.mesh)
			m.mu.Lock()
			defer m.mu.Unlock()
			log := m.logAfterLocked(4)
			return log.Statements, log.Cursor
		}
		if got, cursor := held(); len(got) != 2 || cursor != 6 {
			t.Fatalf("%d closings, cursor %d", len(got), cursor)
		}
		time.Sleep(2 * time.Hour)
		if got, cursor := held(); !slices.Equal(got, []string{young.Text()}) || cursor != 6 {
			t.Errorf("after 60 days %d closings, cursor %d", len(got), cursor)
		}
		w.alice.connect().wantNotPublished(old, protocol.CodeExpired)
		w.restart()
		if got, cursor := held(); !slices.Equal(got, []string{young.Text()}) || cursor != 6 {
			t.Errorf("after a restart %d closings, cursor %d", len(got), cursor)
		}
		alice = w.alice.connect()
		newest := closing(time.Now())
		alice.wantPublished(newest)
		if got, cursor := held(); !slices.Equal(got, []string{young.Text(), newest.Text()}) || cursor != 7 {
			t.Errorf("after one more %d closings, cursor %d", len(got), cursor)
		}
		w.restart()
		if got, _ := held(); !slices.Equal(got, []string{young.Text(), newest.Text()}) {
			t.Errorf("after another restart %d closings", len(got))
		}
		if n := w.srv.mesh(w.mesh).status().Statements; n != 6 {
			t.Errorf("%d statements", n)
		}
	})
}

// A certificate that is dated ahead is not taken on any way in, and is taken when its time has come.
func TestPrematureCertificate(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		cert := func(ahead time.Duration) *protocol.Statement {
			return w.sign(&protocol.Cert{
				Mesh: w.mesh, Issuer: w.owner.Public(), Member: w.bob.key.Public(), Name: "robert", Role: protocol.RoleMember,
				Issued: time.Now().Add(ahead).Unix(),
			}, w.owner)
		}
		early := cert(time.Hour)
		alice.wantNotPublished(early, protocol.CodeTimestamp)
		offer := protocol.OfferRequest{Mesh: w.mesh, Statements: []string{early.Text()}}
		if status, body := w.post("/api/v1/statements", "", offer); status != http.StatusBadRequest || !strings.Contains(body, string(protocol.CodeTimestamp)) {
			t.Errorf("%d %s", status, body)
		}
		owner := crypto.GenerateKey()
		charter := w.sign(&protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "next"}, owner)
		first := w.sign(&protocol.Cert{
			Mesh: charter.Mesh(), Issuer: owner.Public(), Member: w.bob.key.Public(), Name: "bob", Role: protocol.RoleAdmin,
			Issued: time.Now().Add(time.Hour).Unix(),
		}, owner)
		create := protocol.CreateRequest{Statements: []string{charter.Text(), first.Text()}}
		if status, body := w.post("/api/v1/meshes", w.srv.AdminToken(), create); status != http.StatusBadRequest {
			t.Errorf("%d %s", status, body)
		}
		alice.wantPublished(cert(protocol.CertAhead))
		time.Sleep(time.Hour)
		w.alice.connect().wantPublished(early)
	})
}

// Carol, an admin, lets dora in, and is removed. What she signed is void, so dora is nobody, for hours. Then the owner says that
// dora stays, without a new certificate: she is a member as before, in everybody's tables.
func TestMemberWhoIsKeptLater(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		carol, dora := w.stranger("carol"), w.stranger("dora")
		alice.wantPublished(w.certify(carol, protocol.RoleAdmin))
		invite, enrol := w.invite(dora, time.Hour)
		if status, reply := w.join(invite, enrol, 0); !reply.OK {
			t.Fatalf("join: %d %+v", status, reply)
		}
		cert := w.sign(&protocol.Cert{Mesh: w.mesh, Issuer: carol.key.Public(), Member: dora.key.Public(), Name: "dora", Role: protocol.RoleMember,
			Issued: time.Now().Unix()}, carol.key)
		alice.wantPublished(cert)
		time.Sleep(25 * time.Hour) // the clock is settled, and the link over
		alice.wantPublished(w.revoke(carol.key.Public()))
		time.Sleep(3 * time.Hour)
		c := dora.dial()
		c.wantHelloRefused(c.helloFor(c.key, "control"), protocol.CodeNotMember)
		kept := w.sign(&protocol.Revoke{Mesh: w.mesh, Issuer: w.owner.Public(), Kind: protocol.RevokeKey, Target: carol.key.Public(),
			Keep: []protocol.ID{cert.ID}, At: time.Now().Unix()}, w.owner)
		alice.wantPublished(kept)
		alice.wantQueued(alice.sealGroup("*", "dora stays", dora))
		dora.connect().Want("dora stays")
	})
}
