package broker

import (
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// command connects as a command of 1.37.
func (p *person) command() *client {
	p.w.Helper()
	return p.says(p.signedHello(fields{"channel": "claude-code"}))
}

// legacyMake has an original client make a key.
func (c *client) legacyMake(more fields) (made legacyKeyMade) {
	c.w.Helper()
	f := fields{"type": "apikey_create", "label": "ci-bot", "capabilities": []string{"send", "read"}}
	for k, v := range more {
		f[k] = v
	}
	c.request(f, "apikey_created", &made)
	return made
}

func (c *client) legacyRevoke(id string) (got legacyKeyRevoked) {
	c.w.Helper()
	c.request(fields{"type": "apikey_revoke", "id": id}, "apikey_revoke_response", &got)
	return got
}

func TestLegacyKeys(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		dave.plain()
		d, e := dave.command(), erin.command()
		made := d.legacyMake(fields{"topicScopes": []string{"deploys"}})
		if len(made.ID) != 32 || len(made.Secret) != 46 || !strings.HasPrefix(made.Secret, made.Prefix) || len(made.Prefix) != 11 ||
			strings.Join(made.Capabilities, " ") != "read" || strings.Join(made.TopicScopes, " ") != "deploys" || made.RevokedAt != nil {
			t.Fatalf("made %+v", made.APIKeyItem)
		}
		if strings.Contains(w.log.String(), made.Secret) {
			t.Error("the secret is in the log")
		}
		short := d.legacyMake(fields{"label": "brief", "expiresAt": time.Now().Add(5 * time.Minute).UTC().Format(time.RFC3339)})
		hers := e.legacyMake(nil)

		// What it opens, and what it does not.
		for _, path := range []string{"/api/v1/members", "/api/v1/peers"} {
			if status, body := w.rest(made.Secret, "GET", path, nil); status != http.StatusOK || !strings.Contains(string(body), `"dave`) || !strings.Contains(string(body), `"alice"`) && path == "/api/v1/members" {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
		for _, r := range restRoutes {
			method, path, _ := strings.Cut(r.pattern, " ")
			if !r.originals {
				w.wantRESTRefused(made.Secret, method, path, nil, http.StatusForbidden, protocol.RESTKeyNotEnough)
			}
		}
		w.wantRESTRefused(made.Secret+".x", "GET", "/api/v1/members", nil, http.StatusUnauthorized, protocol.RESTKeyInvalid)

		// Members see and revoke their own; admins all.
		var list protocol.APIKeys
		d.request(fields{"type": "apikey_list"}, "apikey_list_response", &list)
		if len(list.Keys) != 2 || list.Keys[0].ID != short.ID && list.Keys[1].ID != short.ID {
			t.Errorf("dave lists %+v", list.Keys)
		}
		for _, k := range list.Keys {
			if used := k.LastUsedAt != nil; used != (k.ID == made.ID) {
				t.Errorf("%s was used: %t", k.Label, used)
			}
		}
		if got := d.legacyRevoke(hers.ID); got.Status != protocol.KeyNotFound {
			t.Errorf("another's key: %+v", got)
		}
		alice, bob := w.alice.connect(), w.bob.connect()
		if got := bob.keyList(); len(got) != 0 {
			t.Errorf("bob lists %+v", got)
		}
		if got := alice.keyList(); len(got) != 3 {
			t.Errorf("alice lists %+v", got)
		}
		if got := alice.revokeKey(hers.ID[:8]); got.Status != protocol.KeyRevoked || got.ID != hers.ID {
			t.Errorf("an admin revokes: %+v", got)
		}
		w.wantRESTRefused(hers.Secret, "GET", "/api/v1/members", nil, http.StatusUnauthorized, protocol.RESTKeyInvalid)

		for _, id := range []string{"", "%", made.ID[:5]} {
			d.wantError(fields{"type": "apikey_revoke", "id": id}, "invalid_args")
		}
		for _, id := range []string{"%%%%%%", "______", made.ID[:5] + "_", made.ID + "0", strings.Repeat("z", 32)} {
			if got := d.legacyRevoke(id); got.Status != protocol.KeyNotFound {
				t.Errorf("%q: %+v", id, got)
			}
		}
		if got := d.legacyRevoke(made.ID[:6]); got.Status != protocol.KeyRevoked || got.ID != made.ID || got.Already {
			t.Errorf("prefix: %+v", got)
		}
		if got := d.legacyRevoke(made.ID); !got.Already {
			t.Errorf("again: %+v", got)
		}
		w.wantRESTRefused(made.Secret, "GET", "/api/v1/members", nil, http.StatusUnauthorized, protocol.RESTKeyInvalid)

		if status, _ := w.rest(short.Secret, "GET", "/api/v1/peers", nil); status != http.StatusOK {
			t.Errorf("the short-lived key: %d", status)
		}
		w.restart()
		w.wantRESTRefused(made.Secret, "GET", "/api/v1/members", nil, http.StatusUnauthorized, protocol.RESTKeyInvalid)
		if status, _ := w.rest(short.Secret, "GET", "/api/v1/peers", nil); status != http.StatusOK {
			t.Errorf("the short-lived key after a restart: %d", status)
		}
		time.Sleep(6 * time.Minute)
		w.wantRESTRefused(short.Secret, "GET", "/api/v1/peers", nil, http.StatusUnauthorized, protocol.RESTKeyInvalid)
	})
}

func TestLegacyKeysThatBeginAlike(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave := w.original("dave")
		d := dave.command()
		one, two := d.legacyMake(nil), d.legacyMake(nil)
		m := w.srv.mesh(w.mesh)
		m.mu.Lock() // ids are random: here they are given
		keys := m.members[dave.key.Public()].original.Keys
		keys[0].ID, keys[1].ID = "abcdef0000", "abcdef0000111"
		m.mu.Unlock()
		if got := d.legacyRevoke("abcdef"); got.Status != protocol.KeyNotUnique || got.Matches != 2 || got.ID != "" {
			t.Errorf("prefix of two: %+v", got)
		}
		for _, k := range []legacyKeyMade{one, two} {
			if status, _ := w.rest(k.Secret, "GET", "/api/v1/peers", nil); status != http.StatusOK {
				t.Errorf("a key was revoked: %d", status)
			}
		}
		if got := d.legacyRevoke("abcdef0000"); got.Status != protocol.KeyRevoked || got.ID != "abcdef0000" {
			t.Errorf("an id that begins another: %+v", got)
		}
	})
}

func TestLegacyKeyRefusals(t *testing.T) {
	legacyStory(t, func(w *world) {
		d := w.original("dave").command()
		for _, c := range []struct {
			f    fields
			code string
		}{
			{fields{"capabilities": []string{"read"}}, "invalid_args"},
			{fields{"label": "x"}, "invalid_args"},
			{fields{"label": "x", "capabilities": []string{}}, "invalid_args"},
			{fields{"label": "x", "capabilities": []string{"read"}, "expiresAt": "soon"}, "invalid_args"},
			{fields{"label": "x", "capabilities": []string{"read"}, "expiresAt": "2000-01-01T00:00:00.000Z"}, "invalid_args"},
			{fields{"label": "x", "capabilities": []string{"send"}}, "forbidden"},
		} {
			c.f["type"] = "apikey_create"
			d.wantError(c.f, c.code)
		}
	})
}

// As many as are in use are kept, and beyond them the oldest that is over gives way.
func TestLegacyKeysGiveWay(t *testing.T) {
	legacyStory(t, func(w *world) {
		d := w.original("dave").command()
		for range keysPerMember {
			d.legacyMake(fields{"expiresAt": time.Now().Add(5 * time.Minute).UTC().Format(time.RFC3339)})
		}
		d.wantError(fields{"type": "apikey_create", "label": "x", "capabilities": []string{"read"}}, string(protocol.CodeCapacity))
		time.Sleep(6 * time.Minute)
		for range 10 {
			d.legacyMake(nil)
		}
		var list protocol.APIKeys
		d.request(fields{"type": "apikey_list"}, "apikey_list_response", &list)
		if len(list.Keys) != keysPerMember || len(w.srv.legacyBearers) != keysPerMember {
			t.Errorf("%d keys are listed, %d held", len(list.Keys), len(w.srv.legacyBearers))
		}
	})
}

// Such a key is no more than its member is.
func TestLegacyKeysDieWithTheirMember(t *testing.T) {
	for name, end := range map[string]func(w *world, dave *person){
		"ban":    func(w *world, dave *person) { w.alice.connect().wantPublished(w.revoke(dave.key.Public())) },
		"policy": func(w *world, dave *person) { w.policy(2, 0) },
		"certificate": func(w *world, dave *person) {
			w.alice.connect().wantPublished(w.certify(dave, protocol.RoleMember))
		},
	} {
		t.Run(name, func(t *testing.T) {
			legacyStory(t, func(w *world) {
				dave := w.original("dave")
				key := dave.command().legacyMake(nil)
				if status, _ := w.rest(key.Secret, "GET", "/api/v1/peers", nil); status != http.StatusOK {
					t.Fatalf("before: %d", status)
				}
				end(w, dave)
				w.wantRESTRefused(key.Secret, "GET", "/api/v1/peers", nil, http.StatusUnauthorized, protocol.RESTKeyInvalid)
			})
		})
	}
}

// An admin kicks and bans original clients with our statements; what they hear is the original's.
func TestLegacyKickedAndBanned(t *testing.T) {
	legacyStory(t, func(w *world) {
		alice, dave := w.alice.connect(), w.original("dave")
		d := dave.command()
		alice.kicks(dave.key.Public())
		var e protocol.ErrorFrame
		d.wantFrame("error", &e)
		if e.Code != protocol.CodeKicked {
			t.Errorf("kicked as %s", e.Code)
		}
		d.wantClose(protocol.CloseKicked)
		d = dave.command()
		alice.wantPublished(w.revoke(dave.key.Public()))
		d.wantFrame("error", &e)
		if e.Code != protocol.CodeRevoked {
			t.Errorf("banned as %s", e.Code)
		}
		d.wantClose(protocol.CloseBanned)
		again := dave.dial()
		again.write(dave.signedHello(nil))
		again.wantClose(protocol.CloseBanned)
		var bans struct{ Bans []fields }
		w.original("erin").command().request(fields{"type": "list_bans"}, "list_bans_result", &bans)
		if len(bans.Bans) != 1 || bans.Bans[0]["name"] != "dave" || bans.Bans[0]["pubkey"] != dave.key.Public().String() {
			t.Errorf("bans %v", bans.Bans)
		}
	})
}

// kicks has an admin end the connections of key.
func (c *client) kicks(key [32]byte) {
	c.w.Helper()
	st := c.w.sign(&protocol.Op{Mesh: c.w.mesh, By: c.key.Public(), Nonce: c.challenge(), Verb: protocol.OpKick, JSON: []byte(jsonText(fields{"key": hex.EncodeToString(key[:])}))}, c.key)
	var ok protocol.OK
	c.request(protocol.OpFrame{Tag: protocol.Tag{Type: protocol.TypeOp}, Statement: st.Text()}, protocol.TypeOK, &ok)
}

// A key that the owner certifies speaks as our clients do from then on: no connection of an original client is an admin's.
func TestLegacyConnectionEndsWithACertificate(t *testing.T) {
	for _, role := range []string{protocol.RoleMember, protocol.RoleAdmin} {
		legacyStory(t, func(w *world) {
			alice, dave := w.alice.connect(), w.original("dave")
			d := dave.command()
			alice.wantPublished(w.certify(dave, role))
			var e protocol.ErrorFrame
			d.wantFrame("error", &e)
			if e.Code != protocol.CodeUnauthorized {
				t.Errorf("%s: ended as %s", role, e.Code)
			}
			d.wantClose(websocket.ClosePolicyViolation)
			again := dave.dial()
			again.write(dave.signedHello(nil))
			again.wantFrame("error", &e)
			if e.Code != protocol.CodeUnauthorized {
				t.Errorf("%s: refused as %s", role, e.Code)
			}
			dave.connect()
		})
	}
}
