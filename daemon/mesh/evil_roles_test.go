package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
)

func (w *world) ban(by *crypto.PrivateKey, target crypto.PublicKey, keep ...protocol.ID) *protocol.Statement {
	w.Helper()
	return w.sign(&protocol.Revoke{
		Mesh: w.charter.Mesh(), Issuer: by.Public(), Kind: protocol.RevokeKey, Target: target, Keep: keep, At: time.Now().Unix(),
	}, by)
}

func (w *world) member(by *crypto.PrivateKey, key crypto.PublicKey, name string, issued int64) *protocol.Statement {
	w.Helper()
	return w.sign(&protocol.Cert{
		Mesh: w.charter.Mesh(), Issuer: by.Public(), Member: key, Name: name, Role: protocol.RoleMember, Issued: issued,
	}, by)
}

// push hands statements to a daemon as the broker does.
func (e *evil) tell(statements ...*protocol.Statement) {
	f := protocol.Log{Tag: protocol.Tag{Type: protocol.TypeLog}, Cursor: 1000}
	for _, s := range statements {
		f.Statements = append(f.Statements, s.Text())
	}
	e.say(frameOf(f))
}

// Cathy was an admin. After her removal she signs certificates and bans with dates of before: they count for nothing, but
// what the owner kept does.
func TestEvilBackdatedByRemovedAdmin(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		dave, mallory := crypto.GenerateKey().Public(), crypto.GenerateKey().Public()
		early := time.Now().Add(-time.Hour).Unix()
		kept := w.member(w.cathy.m.key, dave, "dave", early)
		e.tell(w.certify(w.cathy.m.self, "cathy", protocol.RoleAdmin), kept)
		if !w.bob.m.trust.View().Verified(dave) {
			t.Fatal("an admin's certificate does not count")
		}
		e.tell(w.ban(w.owner, w.cathy.m.self, kept.ID))
		e.tell(w.member(w.cathy.m.key, mallory, "mallory", early), w.sign(&protocol.Revoke{
			Mesh: w.charter.Mesh(), Issuer: w.cathy.m.self, Kind: protocol.RevokeKey, Target: w.bob.m.self, At: early,
		}, w.cathy.m.key))
		v := w.bob.m.trust.View()
		if v.Verified(mallory) || !v.Verified(w.bob.m.self) || !v.Verified(dave) || v.Verified(w.cathy.m.self) {
			t.Errorf("members: %+v", v.Members())
		}
	})
}

// Two admins remove each other, each other's work, and the owner: nothing happens. Each admits a dave: both are members, and
// none of them is just "dave".
func TestEvilTwoAdminsAtOnce(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		promote := w.certify(w.cathy.m.self, "cathy", protocol.RoleAdmin)
		a, c := w.alice.m.key, w.cathy.m.key
		one, two := crypto.GenerateKey().Public(), crypto.GenerateKey().Public()
		at := time.Now().Unix()
		e.tell(promote)
		e.tell(w.ban(a, c.Public()), w.ban(c, a.Public()), w.ban(a, w.owner.Public()), w.ban(c, w.owner.Public()),
			w.member(a, one, "dave", at), w.member(c, two, "dave", at))
		v := w.bob.m.trust.View()
		if !v.IsAdmin(a.Public()) || !v.IsAdmin(c.Public()) || !v.Verified(a.Public()) || !v.Verified(c.Public()) || !v.Verified(one) || !v.Verified(two) {
			t.Errorf("members: %+v", v.Members())
		}
		_, err := w.bob.m.Resolve("dave")
		if protocol.CodeOf(err) != protocol.CodeAmbiguous {
			t.Errorf("dave: %v", err)
		}
		for _, key := range []crypto.PublicKey{one, two} {
			if got := w.bob.m.trust.Name(key); got != "dave~"+key.String()[:4] {
				t.Errorf("named %s", got)
			}
		}
	})
}

func TestEvilAdminBansAdmin(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		e.tell(w.certify(w.cathy.m.self, "cathy", protocol.RoleAdmin))
		synctest.Wait()
		e.tell(w.ban(w.cathy.m.key, w.alice.m.self))
		w.alice.send("bob", "still here")
		w.bob.want("alice: still here")
		if !w.bob.m.trust.View().IsAdmin(w.alice.m.self) {
			t.Error("an admin removed an admin")
		}
	})
}

// A thief of the owner key hands the mesh over to himself; the recovery key takes it back. In whatever order a member hears
// of it, the recovery key wins, and what the thief signed since is void.
func TestEvilThiefAndRecovery(t *testing.T) {
	owner, recovery, thief, mended, next := crypto.GenerateKey(), crypto.GenerateKey(), crypto.GenerateKey(), crypto.GenerateKey(), crypto.GenerateKey()
	w := &world{TB: t, owner: owner}
	w.charter = w.sign(&protocol.Charter{Owner: owner.Public(), Recovery: recovery.Public(), Created: 1, Slug: "acme"}, owner)
	mesh := w.charter.Mesh()
	alice := crypto.GenerateKey().Public()
	admin := w.certify(alice, "alice", protocol.RoleAdmin)
	theft := w.sign(&protocol.OwnerChange{Mesh: mesh, By: owner.Public(), N: 1, New: thief.Public(), Recovery: recovery.Public()}, owner)
	back := w.sign(&protocol.OwnerChange{Mesh: mesh, By: recovery.Public(), N: 1, New: mended.Public(), Recovery: next.Public(), Keep: []protocol.ID{admin.ID}}, recovery)
	ban := w.ban(thief, alice)
	grab := w.sign(&protocol.OwnerChange{Mesh: mesh, By: owner.Public(), N: 1, New: thief.Public(), Recovery: thief.Public()}, owner) // may not
	late := w.sign(&protocol.OwnerChange{Mesh: mesh, By: thief.Public(), N: 2, New: crypto.GenerateKey().Public(), Recovery: recovery.Public()}, thief)
	for name, order := range map[string][]*protocol.Statement{
		"the thief first":    {admin, theft, ban, late, grab, back},
		"the recovery first": {admin, back, theft, ban, late, grab},
		"upside down":        {back, grab, late, ban, theft, admin},
	} {
		db, err := table.Open(filepath.Join(t.TempDir(), "daemon.db"))
		if err != nil {
			t.Fatal(err)
		}
		believed, err := trust.Load(db, mesh, time.Now, w.charter)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range order {
			if _, err := believed.Merge(s); err != nil {
				t.Fatal(err)
			}
		}
		if alone := protocol.NewView(w.charter, []*protocol.Statement{admin, grab}, protocol.Pins{}); alone.Owner() != owner.Public() {
			t.Error("the owner key changed the recovery key")
		}
		check := func(v *protocol.View) {
			if v.Owner() != mended.Public() || v.Recovery() != next.Public() || v.N() != 1 || v.Fork() || !v.IsAdmin(alice) || !v.Verified(alice) {
				t.Errorf("%s: owner %s, hand-overs %d, alice %v", name, v.Owner().Short(), v.N(), v.Verified(alice))
			}
		}
		check(believed.View())
		again, err := trust.Load(db, mesh, time.Now, w.charter) // a restart remembers the same
		if err != nil {
			t.Fatal(err)
		}
		check(again.View())
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The owner key is in two hands: a thief and the owner each hand the mesh over. Everybody stays with what he heard first, and is
// told; the recovery key settles it for all.
func TestEvilTwoHandovers(t *testing.T) {
	recovery := crypto.GenerateKey()
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWith(t, recovery.Public())
		defer w.close()
		w.bob, w.cathy = w.admitted("bob"), w.admitted("cathy")
		e := w.bob.corrupt()
		for _, n := range w.nodes {
			n.start()
			synctest.Wait()
		}
		var keep []protocol.ID
		for _, s := range w.alice.m.trust.View().Signed(w.owner.Public()) {
			keep = append(keep, s.ID)
		}
		handover := func(by *crypto.PrivateKey) *protocol.Statement {
			return w.sign(&protocol.OwnerChange{
				Mesh: w.charter.Mesh(), By: by.Public(), N: 1, New: crypto.GenerateKey().Public(), Recovery: recovery.Public(), Keep: keep,
			}, by)
		}
		theft, mine, back := handover(w.owner), handover(w.owner), handover(recovery)
		owner := func(s *protocol.Statement) crypto.PublicKey { return s.Body.(*protocol.OwnerChange).New }
		e.tell(theft)
		e.tell(mine)
		w.cathy.learn(mine)
		w.cathy.learn(theft)
		for n, first := range map[*node]*protocol.Statement{w.bob: theft, w.cathy: mine} {
			if v := n.m.trust.View(); v.Owner() != owner(first) || !v.Fork() {
				t.Errorf("%s went over to another owner, fork %v", n.name, v.Fork())
			}
			if !slices.ContainsFunc(n.events.of(inbox.EventNotice), func(ev protocol.Event) bool { return strings.Contains(ev.Notice, "alarm in acme") }) {
				t.Errorf("%s was not told: %+v", n.name, n.events.of(inbox.EventNotice))
			}
		}
		w.publish(back)
		pass(time.Minute)
		for _, n := range w.nodes {
			if v := n.m.trust.View(); v.Owner() != owner(back) || v.Fork() || v.Digest() != w.alice.m.trust.View().Digest() {
				t.Errorf("%s: owner %s, fork %v", n.name, v.Owner().Short(), v.Fork())
			}
		}
		w.alice.send("bob", "it is settled")
		w.bob.want("alice: it is settled")
	})
}

// Bob kept an old link. After his removal the one of several uses is closed, his own enrolment is worth nothing, and the
// broker cannot make him a member.
func TestEvilBannedWithOldLink(t *testing.T) {
	story(t, func(w *world) {
		many := w.alice.link(5)
		eve := w.joined("eve", many.Link)
		eve.start()
		pass(time.Second)
		frank := w.joined("frank", w.alice.link(1).Link) // by a link of one use, which stays as it is
		pass(time.Second)
		for _, n := range []*node{eve, frank} {
			if err := w.alice.m.Ban(context.Background(), n.m.self, ""); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Second)
		if got := w.bob.m.trust.Trust(frank.m.self); got != protocol.TrustUnverified {
			t.Errorf("frank is %s", got)
		}
		link, err := protocol.ParseLink(many.Link)
		if err != nil {
			t.Fatal(err)
		}
		key := crypto.GenerateKey()
		for _, k := range []*crypto.PrivateKey{eve.m.key, key} {
			enrol := w.sign(&protocol.Enrol{Mesh: w.charter.Mesh(), Link: link.Key.Public(), Member: k.Public(), Name: "eve", At: time.Now().Add(-time.Hour).Unix()}, link.Key, k)
			for _, n := range []*node{w.alice, w.bob} {
				if err := n.m.trust.View().Invited(link.Invite, enrol, n.now()); err == nil {
					t.Errorf("%s takes %s in again", n.name, k.Public().Short())
				}
				if _, err := n.m.trust.Learn(nil, []trust.Enrolment{{Invite: link.Invite, Enrol: enrol}}); err != nil {
					t.Fatal(err)
				}
				n.m.chore(func(c *chores) { c.duties = true })
			}
		}
		pass(time.Minute)
		for _, k := range []crypto.PublicKey{eve.m.self, key.Public()} {
			if got := w.alice.m.trust.Trust(k); got != protocol.TrustUnverified {
				t.Errorf("alice: %s", got)
			}
		}
	})
}

// A link of one use is used again, with a date of before its first use. Alice is told, and nobody believes whoever it was.
func TestEvilLinkUsedTooOften(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		info := w.alice.link(1)
		link, err := protocol.ParseLink(info.Link)
		if err != nil {
			t.Fatal(err)
		}
		dave := w.joined("dave", info.Link)
		dave.start()
		pass(time.Minute)
		eve := crypto.GenerateKey()
		enrol := w.sign(&protocol.Enrol{
			Mesh: w.charter.Mesh(), Link: link.Key.Public(), Member: eve.Public(), Name: "eve", At: time.Now().Add(-time.Hour).Unix(),
		}, link.Key, eve)
		item := protocol.MemberItem{Pubkey: eve.Public().String(), Invite: link.Invite.Text(), Enrol: enrol.Text(), Online: true}
		for _, n := range []*node{w.alice, w.bob} {
			if _, err := n.m.trust.Learn(nil, []trust.Enrolment{{Invite: link.Invite, Enrol: enrol}}); err != nil {
				t.Fatal(err)
			}
			n.m.chore(func(c *chores) { c.duties = true })
		}
		e.say(frameOf(protocol.Membership{Tag: protocol.Tag{Type: protocol.TypeMembership}, Members: []protocol.MemberItem{item}}))
		pass(time.Minute)
		for _, n := range []*node{w.alice, w.bob} {
			if got := n.m.trust.Trust(eve.Public()); got != protocol.TrustUnverified {
				t.Errorf("%s: eve is %s", n.name, got)
			}
			if !n.m.trust.View().Verified(dave.m.self) {
				t.Errorf("%s: dave is a stranger", n.name)
			}
		}
		e.say(w.bob.forge(w.bob, eve))
		w.bob.want()
	})
}

// A link that expired, used with an earlier date: the reader's clock counts.
func TestEvilLinkWithEarlierDate(t *testing.T) {
	story(t, func(w *world) {
		info, err := w.alice.m.Invite(context.Background(), protocol.InviteRequest{Expires: time.Now().Add(time.Hour).Unix(), Uses: 1})
		if err != nil {
			t.Fatal(err)
		}
		link, err := protocol.ParseLink(info.Link)
		if err != nil {
			t.Fatal(err)
		}
		made := time.Now()
		pass(2 * time.Hour)
		key := crypto.GenerateKey()
		enrol := w.sign(&protocol.Enrol{Mesh: w.charter.Mesh(), Link: link.Key.Public(), Member: key.Public(), Name: "dave", At: made.Unix()}, link.Key, key)
		for _, n := range []*node{w.alice, w.bob} {
			if _, err := n.m.trust.Learn(nil, []trust.Enrolment{{Invite: link.Invite, Enrol: enrol}}); err != nil {
				t.Fatal(err)
			}
			n.m.chore(func(c *chores) { c.duties = true })
		}
		pass(time.Minute)
		for _, n := range []*node{w.alice, w.bob} {
			if got := n.m.trust.Trust(key.Public()); got != protocol.TrustUnverified {
				t.Errorf("%s: %s", n.name, got)
			}
		}
	})
}

// A ban lands while alice's outbox is full of messages to bob: not one of them leaves.
func TestEvilBanWhileOutboxIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.bob, w.cathy = w.admitted("bob"), w.admitted("cathy")
		e := w.alice.corrupt()
		for _, n := range w.nodes {
			n.start()
			synctest.Wait()
		}
		w.alice.unplug()
		var direct []string
		for i := range 50 {
			direct = append(direct, w.alice.send("bob", fmt.Sprint("secret ", i)))
			w.alice.send("*", fmt.Sprint("to all ", i))
		}
		ban := w.ban(w.owner, w.bob.m.self)
		if err := w.cathy.m.Publish(context.Background(), ban.Text()); err != nil {
			t.Fatal(err)
		}
		w.alice.plug()
		pass(time.Minute)
		for _, f := range e.uttered(protocol.TypeSend) {
			if keys, _ := f["keys"].(map[string]any); f.str("targetSpec") == w.bob.m.self.String() || keys[w.bob.m.self.String()] != nil {
				t.Fatalf("sent to the removed: %v", f.str("id"))
			}
		}
		w.alice.wantState(direct[49], protocol.StateDead, protocol.ProofSelf)
		if n := len(w.cathy.messages(nil)); n != 50 {
			t.Errorf("cathy got %d of 50", n)
		}
	})
}

// The broker hides a removal from bob. A message of one who knows tells him that something is hidden, and the two settle it
// sealed, past the broker.
func TestEvilHiddenRevocationHeals(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		gone := w.ban(w.owner, w.cathy.m.self)
		e.lies(func(f frame) []frame {
			if f.is(protocol.TypeLog) {
				kept := []any{}
				list, _ := f["statements"].([]any)
				for _, s := range list {
					if s != any(gone.Text()) {
						kept = append(kept, s)
					}
				}
				return []frame{f.with("statements", kept)}
			}
			return []frame{f}
		})
		if err := w.alice.m.Publish(context.Background(), gone.Text()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if !w.bob.m.trust.View().Verified(w.cathy.m.self) {
			t.Fatal("bob knows: nothing is hidden")
		}
		w.alice.send("bob", "by the way")
		pass(time.Minute)
		if w.bob.m.trust.View().Verified(w.cathy.m.self) {
			t.Error("bob still believes cathy")
		}
		if w.alice.m.trust.View().Digest() != w.bob.m.trust.View().Digest() {
			t.Error("the digests differ")
		}
		w.bob.want("alice: by the way")
	})
}

// The broker says that bob is banned: he does not believe it and comes back.
func TestEvilFalse4002(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		e.say(frame{"type": "error", "code": "revoked", "message": "this key was revoked"})
		e.mu.Lock()
		c := e.client.ws
		e.mu.Unlock()
		c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(protocol.CloseBanned, "banned"), time.Now().Add(time.Second))
		synctest.Wait()
		pass(2 * time.Minute)
		if h := w.bob.m.Health(); h.State != protocol.ConnOpen {
			t.Errorf("bob gave up: %+v", h)
		}
		w.alice.send("bob", "are you there?")
		w.bob.want("alice: are you there?")
		if info := w.bob.m.Info(); info.Trust != protocol.TrustVerified {
			t.Errorf("bob believes the broker: %+v", info)
		}
	})
}

// A hello that was recorded lets nobody in: not on another connection, not after a restart of the broker.
func TestEvilRecordedHello(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		recorded := e.uttered(protocol.TypeHello)[0]
		w.bob.stop()
		replay := func(when string) {
			d := websocket.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return w.listener.Load().Dial("10.0.0.99:1")
			}}
			ws, _, err := d.Dial(testURL, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer ws.Close()
			x := &evilConn{ws: ws}
			x.write(frame{"type": protocol.TypeHelloChallenge, "meshId": string(w.charter.Mesh())})
			_, _, err = ws.ReadMessage()
			x.write(recorded)
			_, b, err2 := ws.ReadMessage()
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			if f := parseFrame(b); !f.is("error") || f.str("code") != string(protocol.CodeUnauthorized) {
				t.Errorf("%s: %v", when, f)
			}
		}
		replay("at once")
		w.closeBroker()
		w.openBroker()
		replay("after a restart")
	})
}

// Receipts: forged by another member, taken from another message, and alice's own that come back to her.
func TestEvilReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.bob, w.cathy = w.admitted("bob"), w.admitted("cathy")
		e := w.alice.corrupt()
		var proofs []frame
		e.lies(func(f frame) []frame { // alice hears of no receipt
			if f.is(protocol.TypeReceipt) {
				proofs = append(proofs, f)
				return nil
			}
			return []frame{f}
		})
		for _, n := range w.nodes {
			n.start()
			synctest.Wait()
		}
		first := w.alice.send("bob", "one")
		synctest.Wait()
		if len(proofs) != 1 || proofs[0]["proof"] == nil {
			t.Fatalf("receipts: %v", proofs)
		}
		w.bob.stop()
		second := w.alice.send("bob", "two")
		synctest.Wait()
		receipt := func(id string, proof any) {
			e.say(frame{"type": protocol.TypeReceipt, "receiptId": "r" + protocol.NewClientID(), "clientMessageId": id,
				"recipient": w.bob.m.self.String(), "state": "read", "at": 1, "proof": proof})
		}
		unmoved := func(how string) {
			t.Helper()
			for _, r := range w.alice.wantMessage(second).Recipients {
				if r.Proof == protocol.ProofPeer || r.State.Rank() > protocol.StateQueued.Rank() {
					t.Errorf("%s: %+v", how, r)
				}
			}
		}
		receipt(second, proofs[0]["proof"])
		unmoved("the receipt of another message")
		forged, err := w.cathy.m.proof(&protocol.Header{ID: second, From: w.alice.m.self}, protocol.ReceiptBody{State: protocol.StateRead})
		if err != nil {
			t.Fatal(err)
		}
		receipt(second, forged)
		unmoved("a receipt by cathy")
		own, err := w.alice.m.proof(&protocol.Header{ID: second, From: w.bob.m.self}, protocol.ReceiptBody{State: protocol.StateRead})
		if err != nil {
			t.Fatal(err)
		}
		own.Sender = w.bob.m.self.String() // reflected: alice's own, as from bob
		receipt(second, own)
		unmoved("her own receipt")
		receipt(second, nil)
		unmoved("the broker's word for read")
		// The recorded one is good for its own message, however late.
		receipt(first, proofs[0]["proof"])
		w.alice.wantState(first, protocol.StateDelivered, protocol.ProofPeer)
	})
}

// Any shuffle of what members, admins and strangers sign ends in one view, and so in one digest.
func TestEvilOrderDecidesNothing(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		mallory := crypto.GenerateKey()
		all := []*protocol.Statement{
			w.certify(w.cathy.m.self, "cathy", protocol.RoleAdmin), w.ban(w.cathy.m.key, w.bob.m.self), w.ban(w.owner, w.cathy.m.self),
			w.ban(mallory, w.alice.m.self), w.member(mallory, mallory.Public(), "mallory", 1), w.member(w.bob.m.key, mallory.Public(), "mallory", 2),
			w.ban(w.bob.m.key, w.bob.m.self),
		}
		w.alice.stop() // else her daemon repeats that bob left, which he may hear or not before the broker hangs up on him
		w.alice.learn(all...)
		slices.Reverse(all)
		e.tell(append(all[:1:1], all...)...)
		if a, b := w.alice.m.trust.View(), w.bob.m.trust.View(); a.Digest() != b.Digest() || len(a.Members()) != len(b.Members()) {
			t.Errorf("alice %+v\nbob %+v", a.Members(), b.Members())
		}
	})
}

// A thief of the owner key removes bob, who gives up. The recovery key takes the mesh back: bob comes back by himself.
func TestEvilThiefsBanIsUndone(t *testing.T) {
	recovery := crypto.GenerateKey()
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWith(t, recovery.Public())
		defer w.close()
		w.bob, w.cathy = w.admitted("bob"), w.admitted("cathy")
		for _, n := range w.nodes {
			n.start()
			synctest.Wait()
		}
		mesh, ctx := w.charter.Mesh(), context.Background()
		thief, mended := crypto.GenerateKey(), crypto.GenerateKey()
		var keep []protocol.ID
		for _, s := range w.alice.m.trust.View().Signed(w.owner.Public()) {
			keep = append(keep, s.ID)
		}
		theft := w.sign(&protocol.OwnerChange{Mesh: mesh, By: w.owner.Public(), N: 1, New: thief.Public(), Recovery: recovery.Public(), Keep: keep}, w.owner)
		if err := w.cathy.m.Publish(ctx, theft.Text(), w.ban(thief, w.bob.m.self).Text(), w.ban(thief, w.alice.m.self).Text()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		for _, n := range []*node{w.alice, w.bob} {
			if h := n.m.Health(); h.ErrorCode != protocol.CodeRevoked {
				t.Fatalf("%s: %+v", n.name, h)
			}
		}
		back := w.sign(&protocol.OwnerChange{Mesh: mesh, By: recovery.Public(), N: 1, New: mended.Public(), Recovery: recovery.Public(), Keep: keep}, recovery)
		if err := w.cathy.m.Publish(ctx, back.Text()); err != nil {
			t.Fatal(err)
		}
		pass(26 * time.Hour)
		for _, n := range []*node{w.alice, w.bob} {
			if h := n.m.Health(); h.State != protocol.ConnOpen || n.m.trust.View().Owner() != mended.Public() {
				t.Errorf("%s: %+v", n.name, h)
			}
		}
		w.alice.send("bob", "here we are again")
		w.bob.want("alice: here we are again")
	})
}

// Bob has just joined, and the broker takes its time with the log: until it is there he is not connected. Else his next verb would
// say that there is no alice.
func TestOpenMeansThatTheLogIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.bob = w.admitted("bob")
		e := w.bob.corrupt()
		held := make(chan frame, 10)
		e.lies(func(f frame) []frame {
			if f.is(protocol.TypeLog) {
				held <- f
				return nil
			}
			return []frame{f}
		})
		for _, n := range w.nodes { // alice's daemon tells the broker of bob
			n.start()
			synctest.Wait()
		}
		if len(held) != 1 {
			t.Fatal("bob asked for no log")
		}
		if s := w.bob.m.control.health().State; s != protocol.ConnConnecting {
			t.Errorf("without the log bob is %s", s)
		}
		e.lies(nil)
		e.say(<-held)
		if s := w.bob.m.control.health().State; s != protocol.ConnOpen {
			t.Errorf("with the log bob is %s", s)
		}
	})
}

// Cathy, an admin, gives alice and bob other names, dated far ahead: the owner certified both. Frank, whom alice admitted, she
// may name, but not with a date that is yet to come, whether the broker passes it on or she does so sealed.
func TestEvilAdminRenames(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		if err := w.alice.m.Publish(context.Background(), w.certify(w.cathy.m.self, "cathy", protocol.RoleAdmin).Text()); err != nil {
			t.Fatal(err)
		}
		frank := w.joined("frank", w.alice.link(1).Link)
		frank.start()
		pass(time.Minute)
		by, year := w.cathy.m.key, time.Now().Add(365*24*time.Hour)
		var renames []*protocol.Statement
		for _, n := range []*node{w.alice, w.bob, frank} {
			renames = append(renames, w.member(by, n.m.self, "fool", year.Unix()), w.member(by, n.m.self, "fool", protocol.MaxSeconds))
		}
		for _, s := range renames {
			wantRefusal(t, w.cathy.m.Publish(context.Background(), s.Text()), protocol.CodeTimestamp)
		}
		for _, n := range []*node{w.alice, w.bob} { // nor with a date of today
			renames = append(renames, w.member(by, n.m.self, "fool", time.Now().Unix()+60))
		}
		e.tell(renames...)
		w.cathy.tellSealed(w.bob, by, renames...)
		frank.restart()
		pass(time.Minute)
		for _, reader := range w.nodes {
			for _, n := range []*node{w.alice, w.bob, frank} {
				if m, _ := reader.m.trust.View().Member(n.m.self); m.Name != n.name {
					t.Errorf("%s calls %s %q", reader.name, n.name, m.Name)
				}
			}
		}
		if err := w.cathy.m.Publish(context.Background(), w.member(by, frank.m.self, "francis", time.Now().Unix()+1).Text()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if m, _ := w.bob.m.trust.View().Member(frank.m.self); m.Name != "francis" {
			t.Errorf("bob calls frank %q", m.Name)
		}
	})
}
