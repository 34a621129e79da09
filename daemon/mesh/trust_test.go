package mesh

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

func TestTrustSurvivesAKill(t *testing.T) {
	story(t, func(w *world) {
		w.bob.session("web", "backend")
		pass(time.Second)
		if err := w.alice.m.trust.MarkInPerson(w.bob.m.self, true); err != nil {
			t.Fatal(err)
		}
		before := w.alice.m.trust
		w.alice.unplug()
		w.alice.kill()
		w.alice.stop()
		after := w.alice.m.trust
		if before.View().Digest() != after.View().Digest() || len(after.View().Members()) != 3 {
			t.Errorf("members after the kill: %v", after.View().Members())
		}
		if len(after.Sessions()) != len(before.Sessions()) || len(after.Sessions()) == 0 {
			t.Errorf("%d sessions, had %d", len(after.Sessions()), len(before.Sessions()))
		}
		if after.Name(w.bob.m.self) != "bob" || !after.MetInPerson(w.bob.m.self) || after.MetInPerson(w.cathy.m.self) {
			t.Error("pins are lost")
		}
	})
}

// A name that moves to another key after a revocation is told once.
func TestNameMoves(t *testing.T) {
	story(t, func(w *world) {
		ban := w.sign(&protocol.Revoke{
			Mesh: w.charter.Mesh(), Issuer: w.alice.m.self, Kind: protocol.RevokeKey, Target: w.bob.m.self, At: time.Now().Unix(),
		}, w.alice.m.key)
		w.alice.learn(ban)
		again := w.admitted("bob")
		pass(time.Minute)
		got, err := w.cathy.m.Resolve("bob")
		if err != nil || got.key != again.m.self {
			t.Errorf("bob is %s, %v", got.key.Short(), err)
		}
		told := 0
		for _, ev := range w.cathy.events.of(inbox.EventNotice) {
			if strings.Contains(ev.Notice, "belongs to another key") {
				told++
			}
		}
		if told != 1 {
			t.Errorf("told %d times: %+v", told, w.cathy.events.of(inbox.EventNotice))
		}
	})
}

// A broker that was restarted knows of nobody at first: nobody is reported as gone who comes back within the lease.
func TestBrokerRestartIsSilent(t *testing.T) {
	story(t, func(w *world) {
		w.bob.session("web")
		pass(time.Minute)
		w.bob.unplug()
		w.closeBroker()
		w.openBroker()
		pass(35 * time.Second) // alice is back before bob, and finds nobody there
		w.bob.plug()
		pass(3 * time.Minute)
		if left := w.alice.events.of(inbox.EventPeerLeft); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
		if joined := w.alice.events.of(inbox.EventPeerJoined); len(joined) != 1 { // the first time
			t.Errorf("joined: %+v", joined)
		}
		if got := w.alice.peerNames(); !slices.Equal(got, []string{"alice", "bob/web", "cathy"}) {
			t.Errorf("peers: %v", got)
		}
		w.bob.unplug()
		w.bob.stop()
		pass(protocol.PresenceLease + protocol.SilenceLimit + time.Minute)
		if left := w.alice.events.of(inbox.EventPeerLeft); len(left) != 1 {
			t.Errorf("left: %+v", left)
		}
	})
}

func TestDowngradeIsRefused(t *testing.T) {
	for _, offered := range [][]string{nil, {protocol.CapTrust}, {protocol.CapEnvelope2, protocol.CapReceipts}} {
		wantRefusal(t, checkCapabilities(offered), protocol.CodeDowngrade)
	}
	if err := checkCapabilities([]string{protocol.CapEnvelope2, protocol.CapTrust}); err != nil {
		t.Error(err)
	}
}

func TestStoreRefusals(t *testing.T) {
	for _, test := range []struct {
		err  error
		code protocol.Code
	}{
		{fmt.Errorf("commit: %w", store.ErrFull), protocol.CodeStoreFull},
		{fmt.Errorf("commit: %w", store.ErrReadOnly), protocol.CodeStoreFailed},
		{protocol.Refuse(protocol.CodeInvalid, "no"), protocol.CodeInvalid},
		{errors.New("odd"), protocol.CodeInternal},
	} {
		wantRefusal(t, table.Refusal("keep it", test.err), test.code)
	}
}

// A ban by the broker's word alone ends nothing: the daemon goes on trying.
func TestBrokerCannotBan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		u := w.alice.m.control
		refusal := protocol.Refuse(protocol.CodeRevoked, "go away")
		if wait := u.failed(refusal, backoffMost); wait >= revokedWait || wait > 2*backoffMost {
			t.Errorf("waits %s at the broker's word", wait)
		}
		revoke := w.sign(&protocol.Revoke{
			Mesh: w.charter.Mesh(), Issuer: w.owner.Public(), Kind: protocol.RevokeKey, Target: w.alice.m.self, At: 1,
		}, w.owner)
		w.alice.learn(revoke)
		if wait := u.failed(refusal, backoffMost); wait < revokedWait {
			t.Errorf("waits %s though the key is revoked", wait)
		}
	})
}

func TestBackoffIsJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		u := w.alice.m.control
		seen := make(map[time.Duration]bool)
		for range 20 {
			wait := u.failed(errors.New("no route"), backoffMost)
			if wait <= 0 || wait > backoffMost {
				t.Errorf("waits %s", wait)
			}
			seen[wait] = true
		}
		if len(seen) < 10 {
			t.Errorf("%d different waits of 20", len(seen))
		}
	})
}

func TestInboundPolicy(t *testing.T) {
	ambush(t, func(w *world) {
		for _, test := range []struct{ inbound, held, state string }{
			{"hold", "messages of this mesh are held", ""},
			{"refuse", "", string(protocol.StateRefused)},
		} {
			w.bob.m.cfg.Inbound = test.inbound
			id := w.alice.send("bob", test.inbound)
			acks := w.bob.wire().push(w.alice.sealed(id, w.bob))
			if len(acks) != 1 || acks[0].State != test.state || acks[0].Proof == nil {
				t.Errorf("%s: %+v", test.inbound, acks)
			}
			if msg, err := w.bob.m.env.Mail.Find(id); test.held != "" && (err != nil || msg.Held != test.held) {
				t.Errorf("%s: %+v %v", test.inbound, msg, err)
			}
		}
		w.bob.want("alice: hold")
	})
}
