package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// script is who holds an API key.
type script struct {
	*person
	secret    *protocol.APISecret
	statement *protocol.Statement
}

func (s *script) id() string { return s.statement.Body.(*protocol.APIKey).Key.String() }

// apiKey signs a key of p's. A zero life is for ever.
func (p *person) apiKey(label string, life time.Duration, caps ...string) *script {
	return p.apiKeyFor(protocol.NewAPISecret(), label, life, caps...)
}

func (p *person) apiKeyFor(secret *protocol.APISecret, label string, life time.Duration, caps ...string) *script {
	body := &protocol.APIKey{Mesh: p.w.mesh, Member: p.key.Public(), Key: secret.Key.Public(), Label: label, Caps: caps, Issued: time.Now().UnixMilli()}
	if life > 0 {
		body.Expires = time.Now().Add(life).UnixMilli()
	}
	return &script{person: p, secret: secret, statement: p.w.sign(body, p.key, secret.Key)}
}

// createFrame is what a daemon sends for the key: nothing in it opens anything.
func (s *script) createFrame() protocol.APIKeyCreate {
	return protocol.APIKeyCreate{
		Tag: protocol.Tag{Type: protocol.TypeAPIKeyCreate}, Statement: s.statement.Text(), Hash: s.secret.Bearer.Hash(), Prefix: s.secret.Bearer.Prefix(),
	}
}

// register has the broker let the key in.
func (c *client) register(s *script) *script {
	c.w.Helper()
	var got protocol.APIKeyCreated
	c.request(s.createFrame(), protocol.TypeAPIKeyCreated, &got)
	if got.ID != s.id() || got.Prefix != s.secret.Bearer.Text()[:11] || got.RevokedAt != nil {
		c.w.Fatalf("created %+v", got)
	}
	return s
}

func (c *client) keyList() []protocol.APIKeyItem {
	c.w.Helper()
	var got protocol.APIKeys
	c.request(protocol.APIKeyList{Tag: protocol.Tag{Type: protocol.TypeAPIKeyList}}, protocol.TypeAPIKeys, &got)
	return got.Keys
}

func (c *client) revokeKey(id string) protocol.APIKeyRevoked {
	c.w.Helper()
	var got protocol.APIKeyRevoked
	c.request(protocol.APIKeyRevoke{Tag: protocol.Tag{Type: protocol.TypeAPIKeyRevoke}, ID: id}, protocol.TypeAPIKeyRevoked, &got)
	return got
}

// twins are two secrets whose keys begin with the same 6 digits.
func twins() (a, b *protocol.APISecret) {
	seen := make(map[string]*protocol.APISecret)
	for {
		s := protocol.NewAPISecret()
		head := s.Key.Public().String()[:6]
		if other := seen[head]; other != nil {
			return other, s
		}
		seen[head] = s
	}
}

func TestAPIKeyRevoke(t *testing.T) {
	one, two := twins()
	story(t, Limits{}, func(w *world) {
		bob := w.bob.connect()
		twin1, twin2 := bob.register(w.bob.apiKeyFor(one, "ci", 0, "send")), bob.register(w.bob.apiKeyFor(two, "cron", 0, "send"))
		lone := bob.register(w.bob.apiKey("lone", 0, "read", "send"))
		cathy := w.cathy.connect()
		hers := cathy.register(w.cathy.apiKey("hers", 0, "send"))

		for _, c := range []struct{ name, id, want string }{
			{"unknown prefix", strings.Repeat("f", 12), protocol.KeyNotFound},
			{"unknown id", strings.Repeat("f", 64), protocol.KeyNotFound},
			{"wildcard", "%%%%%%", protocol.KeyNotFound},
			{"wildcard in a prefix", lone.id()[:5] + "%", protocol.KeyNotFound},
			{"star", lone.id()[:6] + "*", protocol.KeyNotFound},
			{"upper case", strings.ToUpper(lone.id()), protocol.KeyNotFound},
			{"longer than the id", lone.id() + "0", protocol.KeyNotFound},
			{"another member's", hers.id(), protocol.KeyNotFound},
			{"shared prefix", twin1.id()[:6], protocol.KeyNotUnique},
		} {
			got := bob.revokeKey(c.id)
			if got.Status != c.want || got.ID != "" {
				t.Errorf("%s: %+v, want %s", c.name, got, c.want)
			}
			if c.want == protocol.KeyNotUnique && len(got.Matches) != 2 {
				t.Errorf("%s: matches %v", c.name, got.Matches)
			}
		}
		for _, short := range []string{"", "%", lone.id()[:5]} {
			bob.wantRefused(protocol.APIKeyRevoke{Tag: protocol.Tag{Type: protocol.TypeAPIKeyRevoke}, ID: short}, protocol.CodeInvalid)
		}
		for _, k := range bob.keyList() {
			if k.RevokedAt != nil {
				t.Fatalf("%s was revoked by none of these", k.Label)
			}
		}
		if got := bob.revokeKey(twin1.id()); got.Status != protocol.KeyRevoked || got.ID != twin1.id() || got.Already {
			t.Errorf("whole id beside its twin: %+v", got)
		}
		if got := bob.revokeKey(twin1.id()); got.Status != protocol.KeyRevoked || !got.Already {
			t.Errorf("again: %+v", got)
		}
		if got := bob.revokeKey(lone.id()[:6]); got.Status != protocol.KeyRevoked || got.ID != lone.id() {
			t.Errorf("prefix: %+v", got)
		}
		w.restart()
		bob = w.bob.connect()
		for _, k := range bob.keyList() {
			if gone := k.RevokedAt != nil; gone != (k.ID != twin2.id()) {
				t.Errorf("after a restart %s is revoked: %t", k.Label, gone)
			}
		}
	})
}

func TestAPIKeysAreTheirMembersAndTheAdmins(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		own := bob.register(w.bob.apiKey("ci", 0, "send"))
		alice.register(w.alice.apiKey("cron", time.Hour, "read"))
		if got := bob.keyList(); len(got) != 1 || got[0].ID != own.id() {
			t.Errorf("bob lists %+v", got)
		}
		if got := alice.keyList(); len(got) != 2 {
			t.Errorf("alice lists %+v", got)
		}
		if got := alice.revokeKey(own.id()[:8]); got.Status != protocol.KeyRevoked {
			t.Errorf("an admin revokes a member's: %+v", got)
		}
		foreign := w.alice.apiKey("not-mine", 0, "send")
		bob.wantRefused(foreign.createFrame(), protocol.CodeForbidden)
		own2 := w.bob.apiKey("own", 0, "send")
		own2.secret = foreign.secret
		bob.register(own2)
		stolen := w.bob.apiKey("same-bearer", 0, "send")
		stolen.secret = foreign.secret
		bob.wantRefused(stolen.createFrame(), protocol.CodeExists)
	})
}

func TestAPIKeyCreateRefusals(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob := w.bob.connect()
		good := w.bob.apiKey("ci", 0, "send")
		for _, c := range []struct {
			name string
			make func() protocol.APIKeyCreate
			code protocol.Code
		}{
			{"no capability", func() protocol.APIKeyCreate { return w.bob.apiKey("ci", 0).createFrame() }, protocol.CodeInvalid},
			{"unknown capability", func() protocol.APIKeyCreate { return w.bob.apiKey("ci", 0, "admin").createFrame() }, protocol.CodeInvalid},
			{"no hash", func() protocol.APIKeyCreate { f := good.createFrame(); f.Hash = ""; return f }, protocol.CodeInvalid},
			{"short prefix", func() protocol.APIKeyCreate { f := good.createFrame(); f.Prefix = "cm_"; return f }, protocol.CodeInvalid},
			{"whole bearer as prefix", func() protocol.APIKeyCreate { f := good.createFrame(); f.Prefix = good.secret.Bearer.Text(); return f }, protocol.CodeInvalid},
			{"session statement", func() protocol.APIKeyCreate {
				f := good.createFrame()
				f.Statement = w.bob.sessionStatement(w.bob.key, "bob").Text()
				return f
			}, protocol.CodeBadStatement},
			{"no statement", func() protocol.APIKeyCreate { f := good.createFrame(); f.Statement = ""; return f }, protocol.CodeBadStatement},
			{"a session's key", func() protocol.APIKeyCreate {
				w.bob.session("web")
				s := protocol.NewAPISecret()
				s.Key = w.bob.sessionKey("web")
				return w.bob.apiKeyFor(s, "ci", 0, "send").createFrame()
			}, protocol.CodeExists},
		} {
			if e := bob.wantRefused(c.make(), c.code); e.Code != c.code {
				t.Errorf("%s: %s", c.name, e.Code)
			}
		}
	})
}

// A member learns of the keys of others with the list of members, and hears of changes.
func TestAPIKeysAreAmongTheMembers(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		ci := bob.register(w.bob.apiKey("ci", time.Hour, "read", "send"))
		told := func() int {
			var f protocol.Membership
			for {
				alice.wantFrame(protocol.TypeMembership, &f)
				for _, m := range f.Members {
					if m.Pubkey == w.bob.key.Public().String() {
						return len(m.APIKeys)
					}
				}
			}
		}
		for told() == 0 {
		}
		if got := bob.revokeKey(ci.id()); got.Status != protocol.KeyRevoked {
			t.Fatal(got)
		}
		for told() != 0 {
		}
	})
}

func TestDirectToAnAPIKey(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		reads, mute := bob.register(w.bob.apiKey("reads", time.Hour, "read")), bob.register(w.bob.apiKey("mute", 0, "send"))
		alice.wantQueued(alice.seal(reads.secret.Key.Public(), protocol.PriorityNext, "hello"))
		alice.wantNotQueued(alice.seal(mute.secret.Key.Public(), protocol.PriorityNext, "hello"), protocol.CodeUnknownRecipient)
		time.Sleep(2 * time.Hour)
		alice = w.alice.connect()
		alice.wantNotQueued(alice.seal(reads.secret.Key.Public(), protocol.PriorityNext, "too late"), protocol.CodeUnknownRecipient)
	})
}

// A statement that revokes the key, or its member, ends it at the broker too.
func TestAPIKeyDiesByStatement(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		one, two := bob.register(w.bob.apiKey("one", 0, "read")), bob.register(w.bob.apiKey("two", 0, "read"))
		bob.publish(w.sign(&protocol.Revoke{Mesh: w.mesh, Issuer: w.bob.key.Public(), Kind: protocol.RevokeKey, Target: one.secret.Key.Public(),
			At: time.Now().Unix()}, w.bob.key))
		if got := bob.revokeKey(one.id()); !got.Already {
			t.Errorf("revoked by statement: %+v", got)
		}
		alice.wantQueued(alice.seal(two.secret.Key.Public(), protocol.PriorityNext, "hello"))
		alice.publish(w.revoke(w.bob.key.Public()))
		alice.wantNotQueued(alice.seal(two.secret.Key.Public(), protocol.PriorityNext, "too late"), protocol.CodeUnknownRecipient)
		for _, k := range alice.keyList() {
			if k.RevokedAt == nil {
				t.Errorf("%s outlived its member", k.Label)
			}
		}
	})
}

// Mallory has an API key pass for a session of hers, revokes it with an old date, and waits until it is forgotten. Nobody's
// connection ends by that, and the broker stays.
func TestEvilAPIKeyAsASession(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		mallory, alice := w.cathy.connect(), w.alice.connect()
		k := mallory.register(w.cathy.apiKey("k", 0, "read"))
		mallory.wantNotPublished(w.cathy.sessionStatement(k.secret.Key, "k"), protocol.CodeForbidden)
		m := w.srv.mesh(w.mesh)
		m.mu.Lock()
		m.members[w.cathy.key.Public()].sessions.set(k.secret.Key.Public(), w.cathy.sessionStatement(k.secret.Key, "k")) // by an older broker
		m.mu.Unlock()
		mallory.publish(w.sign(&protocol.Revoke{Mesh: w.mesh, Issuer: w.cathy.key.Public(), Kind: protocol.RevokeKey, Target: k.secret.Key.Public(),
			At: 1}, w.cathy.key))
		time.Sleep(3 * time.Hour)
		mallory.leave()
		mallory = w.cathy.connect()
		for i := range 3 {
			w.cathy.session(fmt.Sprint(i)).leave()
		}
		alice.Send(w.cathy, "hi")
		mallory.Want("hi")
	})
}

// The tables forgot bob while he was nobody, and the view has him back without a new certificate.
func TestMemberWhoIsBackWithoutACertificate(t *testing.T) {
	forget := func(w *world) {
		m := w.srv.mesh(w.mesh)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.members, w.bob.key.Public())
		delete(m.addresses, w.bob.key.Public())
	}
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		forget(w)
		w.bob.connect().leave()
		forget(w)
		alice.wantQueued(alice.sealGroup("*", "welcome back", w.bob))
		w.bob.connect().Want("welcome back")
	})
}

// Mallory makes keys and revokes them, again and again: what is remembered of them is bounded.
func TestRevokedAPIKeysAreBounded(t *testing.T) {
	story(t, Limits{Burst: 1 << 20}, func(w *world) {
		mallory := w.cathy.connect()
		m := w.srv.mesh(w.mesh)
		m.mu.Lock()
		p := m.members[w.cathy.key.Public()]
		if p.keys == nil {
			p.keys = make(map[crypto.PublicKey]*apiKey)
		}
		for range keysRemembered {
			k := w.cathy.apiKey("old", 0, "read")
			p.keys[k.secret.Key.Public()] = &apiKey{mesh: m, member: p, body: &protocol.APIKey{Key: k.secret.Key.Public(), Expires: 1}}
		}
		m.mu.Unlock()
		mallory.wantRefused(w.cathy.apiKey("more", 0, "read").createFrame(), protocol.CodeCapacity)
	})
}
