package broker

import (
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// grants says what p's connection lets peers do.
func (c *client) grants(about map[crypto.PublicKey][]string) {
	c.w.Helper()
	f := protocol.SetGrants{Tag: protocol.Tag{Type: protocol.TypeSetGrants}, Grants: make(map[string][]string)}
	for key, may := range about {
		f.Grants[key.String()] = may
	}
	var ok protocol.OK
	c.request(f, protocol.TypeOK, &ok)
}

func TestGrants(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob, cathy := w.alice.connect(), w.bob.connect(), w.cathy.connect()
		web, api := w.bob.session("web"), w.alice.session("api")
		web.wantRefused(protocol.SetGrants{Tag: protocol.Tag{Type: protocol.TypeSetGrants}}, protocol.CodeForbidden)
		bob.grants(map[crypto.PublicKey][]string{w.alice.key.Public(): {}, w.alice.sessionKey("api").Public(): {protocol.GrantDirect}})

		// Refused by the member, and taken from the one session that may; to the member and to his sessions alike.
		for _, to := range []crypto.PublicKey{w.bob.key.Public(), w.bob.sessionKey("web").Public()} {
			alice.wantNotQueued(alice.seal(to, protocol.PriorityNext, "hello"), protocol.CodeBlocked)
			api.wantQueued(api.seal(to, protocol.PriorityNext, "hello"))
		}
		cathy.Send(w.bob, "hello")
		alice.wantNotQueued(alice.sealPing(w.bob.key.Public()), protocol.CodeBlocked)
		s := alice.sealGroup("*", "to all", w.bob, w.cathy) // his daemon refuses those
		alice.wantQueued(s)

		w.restart()
		alice, bob = w.alice.connect(), w.bob.connect()
		alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hello"), protocol.CodeBlocked)
		bob.grants(nil)
		alice.Send(w.bob, "hello again")

		for _, f := range []map[string]any{{"bob": []string{}}, {w.alice.key.Public().String(): []string{"everything"}}} {
			bob.wantRefused(map[string]any{"type": protocol.TypeSetGrants, "grants": f}, protocol.CodeInvalid)
		}
		many := make(map[string]any)
		for range maxGrants + 1 {
			many[crypto.GenerateKey().Public().String()] = []string{}
		}
		bob.wantRefused(map[string]any{"type": protocol.TypeSetGrants, "grants": many}, protocol.CodePayloadTooLarge)
		alice.Send(w.bob, "and again")
	})
}
