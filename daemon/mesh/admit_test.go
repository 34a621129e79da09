package mesh

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
)

func (n *node) link(uses int) protocol.InviteInfo {
	n.Helper()
	info, err := n.m.Invite(context.Background(), protocol.InviteRequest{Uses: uses})
	if err != nil {
		n.Fatal(err)
	}
	return info
}

func TestLinkAdmits(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1)
		dave := w.joined("bob", link.Link) // the name is taken
		dave.start()
		synctest.Wait()
		if info := dave.m.Info(); info.Trust != protocol.TrustVerified || info.Name != "bob-2" || info.Role != protocol.RoleMember {
			t.Errorf("the new one: %+v", info)
		}
		pass(time.Second)
		if s := w.bob.m.trust.Session(dave.m.self).Body.(*protocol.Session); s.Label != "bob-2" {
			t.Errorf("the new one calls himself %s", s.Label)
		}
		id := dave.send("alice", "hello")
		w.alice.want("bob-2: hello")
		dave.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		w.cathy.send("bob-2", "welcome")
		dave.want("cathy: welcome")
		list, err := w.alice.m.Invites()
		if err != nil || len(list) != 1 || list[0].State != linkUsedUp || list[0].Used != 1 || list[0].Link != "" {
			t.Errorf("links: %+v %v", list, err)
		}
	})
}

// While the issuer is away a joiner is invited: he may write, and what he writes is held.
func TestInvitedUntilTheIssuerIsThere(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1)
		w.alice.stop()
		dave := w.joined("dave", link.Link)
		dave.start()
		synctest.Wait()
		if info := dave.m.Info(); info.Trust != protocol.TrustInvited || info.Role != "invited" {
			t.Errorf("dave: %+v", info)
		}
		dave.learn(w.cert(w.bob))
		dave.send("bob", "let me in")
		w.bob.want("dave: let me in")
		if got := w.bob.messages(nil)[0]; got.Held == "" || got.From.Trust != protocol.TrustInvited {
			t.Errorf("message: %+v", got)
		}
		w.bob.send("dave", "by name only")
		dave.want("bob: by name only")
		w.bob.send("*", "not for dave")
		dave.want("bob: by name only")
		w.alice.start()
		synctest.Wait()
		if info := dave.m.Info(); info.Trust != protocol.TrustVerified {
			t.Errorf("dave after alice came: %+v", info)
		}
	})
}

func TestSurplusAndLate(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1)
		first := w.joined("dave", link.Link)
		synctest.Wait()
		if !w.alice.m.trust.View().Verified(first.m.self) {
			t.Error("dave was not admitted")
		}
		w.refused(w.alice, link.Link)
		if list, _ := w.alice.m.Invites(); len(list) != 1 || list[0].State != linkUsedUp || list[0].Used != 1 {
			t.Errorf("links: %+v", list)
		}

		late, err := w.alice.m.Invite(context.Background(), protocol.InviteRequest{Expires: time.Now().Add(time.Hour).Unix()})
		if err != nil {
			t.Fatal(err)
		}
		w.alice.stop()
		last := w.joined("frank", late.Link)
		pass(time.Hour)
		w.alice.start()
		synctest.Wait()
		if w.alice.m.trust.View().Verified(last.m.self) {
			t.Error("a late one was admitted")
		}
	})
}

func TestUsesSurviveAKill(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(2)
		for _, name := range []string{"dave", "eve"} {
			w.joined(name, link.Link)
			synctest.Wait()
			w.alice.kill()
			pass(time.Minute)
		}
		w.refused(w.alice, link.Link)
	})
}

func TestOnlyAdminsMakeLinks(t *testing.T) {
	story(t, func(w *world) {
		_, err := w.bob.m.Invite(context.Background(), protocol.InviteRequest{})
		wantRefusal(t, err, protocol.CodeForbidden)
		_, err = w.alice.m.Invite(context.Background(), protocol.InviteRequest{Role: protocol.RoleAdmin})
		wantRefusal(t, err, protocol.CodeForbidden)
	})
}

func TestBanClosesLinksAndStopsMail(t *testing.T) {
	story(t, func(w *world) {
		many, one := w.alice.link(5), w.alice.link(1)
		w.alice.unplug()
		direct := w.alice.send("bob", "sealed before")
		group := w.alice.send("*", "to all")
		// The owner bans bob while alice is away.
		ban := w.sign(&protocol.Revoke{
			Mesh: w.charter.Mesh(), Issuer: w.owner.Public(), Kind: protocol.RevokeKey, Target: w.bob.m.self, At: time.Now().Unix(), Reason: "lost laptop",
		}, w.owner)
		if err := w.cathy.m.Publish(context.Background(), ban.Text()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.alice.plug()
		pass(time.Minute)
		w.bob.want()
		w.cathy.want("alice: to all")
		w.alice.wantState(direct, protocol.StateDead, protocol.ProofSelf)
		res := w.alice.wantState(group, protocol.StateDelivered, protocol.ProofSelf)
		for _, r := range res.Recipients {
			if (r.Name == "bob") != (r.State == protocol.StateDead) {
				t.Errorf("recipient %+v", r)
			}
		}
		states := map[string]string{}
		list, _ := w.alice.m.Invites()
		for _, l := range list {
			states[l.ID] = l.State
		}
		if states[many.ID] != linkClosed || states[one.ID] != linkOpen {
			t.Errorf("links after a ban: %v", states)
		}
		// 4002 is terminal for bob, because his own view shows it (D5).
		h := w.bob.m.Health()
		if h.State != protocol.ConnRefused || h.ErrorCode != protocol.CodeRevoked {
			t.Errorf("bob: %+v", h)
		}
		since := h.Since
		pass(2 * time.Hour)
		if h := w.bob.m.Health(); h.Since != since || h.State != protocol.ConnRefused {
			t.Errorf("bob tried again: %+v", h)
		}
		_, err := w.bob.m.Send(context.Background(), protocol.SendRequest{To: "alice", Body: "let me back"}, nil)
		wantRefusal(t, err, protocol.CodeRevoked)
		_, err = w.cathy.m.Resolve("bob")
		wantRefusal(t, err, protocol.CodeNotFound)
	})
}

// Who leaves says so himself; an admin's daemon repeats it into the log, so that everybody's digest is alike.
func TestLeaveIsRepeated(t *testing.T) {
	story(t, func(w *world) {
		if err := w.bob.m.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, n := range []*node{w.alice, w.cathy} {
			r, gone := n.m.trust.View().Revoked(w.bob.m.self)
			if !gone || r.Own || r.By != w.alice.m.self {
				t.Errorf("%s knows of the leave: %v %+v", n.name, gone, r)
			}
		}
		if w.alice.m.trust.View().Digest() != w.cathy.m.trust.View().Digest() {
			t.Error("the digests differ")
		}
	})
}

// The broker withholds a ban from cathy; the first message of one who knows brings it to her.
func TestLogExchangePastTheBroker(t *testing.T) {
	ambush(t, func(w *world) {
		ban := w.sign(&protocol.Revoke{
			Mesh: w.charter.Mesh(), Issuer: w.alice.m.self, Kind: protocol.RevokeKey, Target: w.bob.m.self, At: time.Now().Unix(),
		}, w.alice.m.key)
		w.alice.learn(ban)
		cathy, alice := w.cathy.wire(), w.alice.wire()
		cathy.push(w.alice.sealed(w.alice.send("cathy", "hi"), w.cathy))
		if !w.cathy.m.todo.log || len(w.cathy.m.todo.differ) != 1 {
			t.Fatalf("cathy did not notice: %+v", w.cathy.m.todo)
		}
		// Cathy's own log goes to alice; alice sees the difference and sends hers.
		if err := w.cathy.m.sendLog(w.alice.m.self); err != nil {
			t.Fatal(err)
		}
		for _, id := range w.cathy.waitingIDs() {
			alice.push(w.cathy.sealed(id, w.alice))
		}
		if len(w.alice.m.todo.differ) != 1 {
			t.Fatalf("alice did not notice: %+v", w.alice.m.todo)
		}
		if err := w.alice.m.sendLog(w.cathy.m.self); err != nil {
			t.Fatal(err)
		}
		before := len(w.alice.waitingIDs())
		if err := w.alice.m.sendLog(w.cathy.m.self); err != nil {
			t.Fatal(err)
		}
		if after := len(w.alice.waitingIDs()); after != before {
			t.Error("the log was sent twice within 10 minutes")
		}
		for _, id := range w.alice.waitingIDs() {
			cathy.push(w.alice.sealed(id, w.cathy))
		}
		if _, gone := w.cathy.m.trust.View().Revoked(w.bob.m.self); !gone {
			t.Error("cathy does not know of the ban")
		}
		w.cathy.want("alice: hi") // a log is not mail
		if rows, _ := w.cathy.m.Outbox(); len(rows) != 0 {
			t.Errorf("the log shows in the outbox: %+v", rows)
		}
	})
}

func (n *node) waitingIDs() (ids []string) {
	n.m.out.mu.Lock()
	defer n.m.out.mu.Unlock()
	for _, it := range n.m.out.waiting {
		ids = append(ids, it.id)
	}
	return ids
}

func TestBrokerInventsMembers(t *testing.T) {
	ambush(t, func(w *world) {
		mallory := crypto.GenerateKey()
		self := w.sign(&protocol.Cert{
			Mesh: w.charter.Mesh(), Issuer: mallory.Public(), Member: mallory.Public(), Name: "carol", Role: protocol.RoleMember, Issued: 1,
		}, mallory)
		session := w.sign(&protocol.Session{
			Mesh: w.charter.Mesh(), Member: mallory.Public(), Session: mallory.Public(), Label: "carol", Issued: 1, Expires: protocol.MaxMillis,
		}, mallory, mallory)
		x := w.alice.wire()
		err := x.w.takeMembers([]protocol.MemberItem{{
			Pubkey: mallory.Public().String(), Certs: []string{self.Text()}, Sessions: []string{session.Text()}, Online: true,
		}})
		if err != nil {
			t.Fatal(err)
		}
		list, err := x.w.readPeers([]protocol.PeerItem{{
			Pubkey: mallory.Public().String(), MemberPubkey: mallory.Public().String(), DisplayName: "carol", PeerRole: protocol.RoleSession, Session: session.Text(),
		}})
		if err != nil || len(list) != 0 {
			t.Errorf("peers: %v %v", list, err)
		}
		_, err = w.alice.m.Resolve("carol")
		wantRefusal(t, err, protocol.CodeNotFound)
		for _, member := range w.alice.m.Members() {
			if strings.Contains(member.Name, "carol") {
				t.Errorf("member %+v", member)
			}
		}
	})
}

// Bob takes back an API key and a session's key, which alice's daemon repeats into the log: her open link stays open. Cathy is
// removed: it is closed, and alice is told.
func TestOnlyRemovedPeopleCloseLinks(t *testing.T) {
	story(t, func(w *world) {
		info := w.alice.link(9)
		state := func() string {
			all, err := w.alice.m.Invites()
			if err != nil || len(all) != 1 || all[0].ID != info.ID {
				t.Fatalf("links: %+v, %v", all, err)
			}
			return all[0].State
		}
		w.bob.session("phone")
		made, err := w.bob.m.CreateAPIKey(protocol.APIKeyRequest{Label: "ci", Capabilities: []string{"send"}})
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if err := w.bob.m.RevokeDevice(context.Background(), "phone", "stolen"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.bob.m.RevokeAPIKey(context.Background(), made.ID, "leaked"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		repeated := 0
		for _, s := range w.alice.m.trust.View().Log() {
			if r, ok := s.Body.(*protocol.Revoke); ok && r.Issuer == w.alice.m.self {
				repeated++
			}
		}
		if repeated != 2 {
			t.Fatalf("alice repeated %d of bob's two revokes", repeated)
		}
		if got := state(); got != linkOpen {
			t.Errorf("after keys were revoked the link is %s", got)
		}
		if err := w.alice.m.Ban(context.Background(), w.cathy.m.self, ""); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if got := state(); got != linkClosed {
			t.Errorf("after cathy was removed the link is %s", got)
		}
		told := w.alice.events.of(inbox.EventNotice)
		if !slices.ContainsFunc(told, func(ev protocol.Event) bool { return strings.Contains(ev.Notice, "somebody was removed") }) {
			t.Errorf("alice was told %+v", told)
		}
	})
}
