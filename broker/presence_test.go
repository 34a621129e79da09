package broker

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// wantPresence waits for a presence frame that says of key what match wants.
func (c *client) wantPresence(match func(p protocol.Presence) bool) {
	c.w.Helper()
	c.take(protocol.TypePresence, func(raw []byte) bool {
		var p protocol.Presence
		json.Unmarshal(raw, &p)
		return match(p)
	})
}

func joined(key string) func(protocol.Presence) bool {
	return func(p protocol.Presence) bool {
		return slices.ContainsFunc(p.Peers, func(i protocol.PeerItem) bool { return i.Pubkey == key })
	}
}

func (c *client) peers() map[string]protocol.PeerItem {
	c.w.Helper()
	var l protocol.PeersList
	c.request(protocol.Tag{Type: protocol.TypeListPeers}, protocol.TypePeersList, &l)
	items := make(map[string]protocol.PeerItem)
	for _, p := range l.Peers {
		items[p.Pubkey] = p
	}
	return items
}

// clear forgets the frames that came so far.
func (c *client) clear() {
	c.wantNone("nothing of that name")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = nil
}

func TestPresenceOfASession(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, other := w.alice.connect(), w.alice.session("quiet")
		web := w.bob.session("web")
		key := w.bob.sessionKey("web").Public().String()
		alice.wantPresence(joined(key))
		p := alice.peers()[key]
		if p.DisplayName != "bob" || p.PeerRole != protocol.RoleSession || p.SessionID != "web" || p.Status != "idle" ||
			len(p.Groups) != 1 || p.Groups[0] != "backend" || p.Session == "" || p.MemberPubkey != w.bob.key.Public().String() {
			t.Errorf("item %+v", p)
		}
		var ok protocol.OK
		web.request(protocol.SetStatus{Tag: protocol.Tag{Type: protocol.TypeSetStatus}, Status: "dnd"}, protocol.TypeOK, &ok)
		alice.wantPresence(func(p protocol.Presence) bool { return joined(key)(p) && p.Peers[0].Status == "dnd" })
		web.wantRefused(protocol.SetStatus{Tag: protocol.Tag{Type: protocol.TypeSetStatus}, Status: "asleep"}, protocol.CodeInvalid)

		web.leave() // it said goodbye: gone at once
		alice.wantPresence(func(p protocol.Presence) bool { return slices.Contains(p.Left, key) })
		if _, there := alice.peers()[key]; there {
			t.Error("still listed")
		}
		other.wantNone(protocol.TypePresence) // sessions do not hear of it: their control connection does
	})
}

func TestBlipIsInvisible(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		web := w.bob.session("web")
		key := w.bob.sessionKey("web").Public().String()
		alice.clear()
		at := alice.peers()[key].ConnectedAt

		bob.lose()
		web.lose()
		time.Sleep(protocol.PresenceLease - time.Second)
		if _, there := alice.peers()[key]; !there {
			t.Error("gone before the lease ended")
		}
		w.bob.connect()
		web = w.bob.session("web")
		alice.wantNone(protocol.TypePresence)
		if got := alice.peers()[key].ConnectedAt; got != at {
			t.Errorf("connected at %s, then %s", at, got)
		}

		web.lose()
		time.Sleep(protocol.PresenceLease + time.Second)
		alice.wantPresence(func(p protocol.Presence) bool { return slices.Equal(p.Left, []string{key}) })
		w.bob.session("web")
		alice.wantPresence(joined(key))
	})
}

// Cathy's laptop freezes: no close, no reset, no pong. She is there for the lease after the last sign of life that was due, and
// gone when it ends, not another silence later. A freeze that is shorter than the lease is invisible, and a pong counts as a
// sign of life.
func TestFrozenLaptopLeavesAfterTheLease(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, cathy := w.alice.connect(), w.cathy.connect()
		key := w.cathy.key.Public().String()
		time.Sleep(10 * time.Minute) // says nothing, answers pings
		alice.clear()
		cathy.freeze()
		froze := time.Now()
		time.Sleep(protocol.PresenceLease - time.Second)
		alice.wantNone(protocol.TypePresence)
		for range protocol.PingEvery / time.Second {
			time.Sleep(time.Second)
			synctest.Wait()
			if _, there := alice.peers()[key]; !there {
				break
			}
		}
		time.Sleep(time.Second)
		alice.wantPresence(func(p protocol.Presence) bool { return slices.Equal(p.Left, []string{key}) })
		if d := time.Since(froze); d > protocol.PresenceLease+protocol.PingEvery+time.Second {
			t.Errorf("gone after %s", d)
		}

		cathy.lose()
		again := w.cathy.connect()
		alice.wantPresence(joined(key))
		again.freeze()
		time.Sleep(protocol.PresenceLease - time.Second)
		w.cathy.connect()
		alice.wantNone(protocol.TypePresence)
	})
}

func TestStoppedDaemonIsOfflineAtOnce(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		key := w.bob.key.Public().String()
		alice.clear()
		bob.leave() // a restart, for all we know
		alice.wantNone(protocol.TypePresence)
		bob = w.bob.connect()
		bob.leaveSaying("stopped")
		alice.wantPresence(func(p protocol.Presence) bool { return slices.Equal(p.Left, []string{key}) })
	})
}

func TestThousandFlapsAreOneFrame(t *testing.T) {
	story(t, Limits{Burst: 2000}, func(w *world) {
		alice, web := w.alice.connect(), w.bob.session("web")
		alice.clear()
		alice.freeze()
		m := w.srv.mesh(w.mesh)
		for i := range 1000 {
			m.mu.Lock()
			m.presences[w.bob.sessionKey("web").Public()].shown.channel = "/" + string(rune('a'+i%26))
			m.presenceChangedLocked(w.bob.sessionKey("web").Public())
			m.mu.Unlock()
		}
		web.wantNone("nothing")
		alice.thaw()
		alice.wantNone("nothing")
		n := 0
		alice.mu.Lock()
		for _, f := range alice.frames {
			if f.typ == protocol.TypePresence {
				n++
			}
		}
		alice.mu.Unlock()
		if n == 0 || n > 100 {
			t.Errorf("%d presence frames for 1000 changes", n)
		}
	})
}

func TestCard(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, cathy := w.alice.connect(), w.cathy.connect()
		web := w.bob.session("web")
		key := w.bob.sessionKey("web").Public().String()
		card := func() protocol.SetCard {
			h := protocol.Header{
				ID: protocol.NewClientID(), Mesh: w.mesh, From: web.own.Public(), Member: w.bob.key.Public(), To: "*", Prio: protocol.PriorityLow,
				TS: time.Now().UnixMilli(), Ep: "0011223344556677", Log: w.view().Digest(), Kind: protocol.KindCard,
				Att: w.bob.sessionStatement(web.own, "web").Text(),
			}
			body, err := protocol.EncodeCard(&protocol.Card{Summary: "mends the broker"})
			if err != nil {
				t.Fatal(err)
			}
			g, err := protocol.SealGroup(&h, body, web.own)
			if err != nil {
				t.Fatal(err)
			}
			shared, err := web.own.Shared(w.alice.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			return protocol.SetCard{
				Tag: protocol.Tag{Type: protocol.TypeSetCard}, ID: h.ID,
				Nonce: base64.StdEncoding.EncodeToString(g.Nonce), Ciphertext: base64.StdEncoding.EncodeToString(g.Ciphertext),
				Keys: map[string]string{w.alice.key.Public().String(): base64.StdEncoding.EncodeToString(g.Wrap(0, &shared))},
			}
		}
		var ok protocol.OK
		web.request(card(), protocol.TypeOK, &ok)
		alice.wantPresence(func(p protocol.Presence) bool { return joined(key)(p) && p.Peers[0].Card != nil })
		sealed := alice.peers()[key].Card
		p := protocol.Push{SenderPubkey: sealed.Sender, Nonce: sealed.Nonce, Ciphertext: sealed.Ciphertext, Key: sealed.Key}
		if got, err := alice.open(&p).Card(); err != nil || got.Summary != "mends the broker" {
			t.Errorf("card %+v, %v", got, err)
		}
		if cathy.peers()[key].Card != nil {
			t.Error("cathy has a card without a wrap of hers")
		}
		if e := web.wantRefused(card(), protocol.CodeRateLimit); e.RetryAfter != defaultCardEvery.Milliseconds() || !e.Retryable {
			t.Errorf("refused with %+v", e)
		}
		time.Sleep(defaultCardEvery)
		web.request(card(), protocol.TypeOK, &ok)
		bad := card()
		bad.Nonce = "short"
		web.wantRefused(bad, protocol.CodeInvalid)
	})
}
