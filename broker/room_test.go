package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// Five members revoke keys that nobody has until nothing fits. Bob's session key is stolen: its revoke finds room, and what
// gave way to it is gone with the next sweep and at the next start. When one of the five is removed, most of what he signed
// goes, too.
func TestRevokesOfOthersGiveWay(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		var dave *person
		total := 0
		for i := range 5 {
			dave = w.stranger(fmt.Sprint("dave-", i))
			alice.wantPublished(w.certify(dave, protocol.RoleMember))
			f := protocol.Publish{Tag: protocol.Tag{Type: protocol.TypePublish}}
			for range protocol.MaxOwnRevokes + 10 {
				f.Statements = append(f.Statements, w.own(dave, crypto.GenerateKey().Public()).Text())
			}
			var got protocol.Published
			dave.connect().request(f, protocol.TypePublished, &got)
			total += len(got.Accepted)
			for _, r := range got.Refused {
				if r.Code != protocol.CodeMeshFull {
					t.Fatalf("refused: %+v", r)
				}
			}
		}
		if total < protocol.MaxUnresolved || total > 5*protocol.MaxOwnRevokes {
			t.Errorf("%d were accepted", total)
		}
		phone := w.own(w.bob, w.bob.sessionKey("phone").Public())
		w.bob.connect().wantPublished(phone)
		held := func(want int) {
			t.Helper()
			time.Sleep(2 * sweepEvery)
			for range 2 {
				s := w.srv.mesh(w.mesh).status()
				if s.Statements != want || !w.view().InForce(phone.ID) {
					t.Errorf("%d statements are held, want %d; bob's revoke in force: %v", s.Statements, want, w.view().InForce(phone.ID))
				}
				w.restart()
			}
		}
		people := 1 + len(w.people)
		held(people + protocol.MaxUnresolved)
		before := len(w.view().Signed(dave.key.Public()))
		w.alice.connect().wantPublished(w.revoke(dave.key.Public()))
		if after := len(w.view().Signed(dave.key.Public())); before < 100 || after != 0 {
			t.Errorf("of the removed %d revokes were in force and %d are", before, after)
		}
	})
}

// own revokes a key of p's own.
func (w *world) own(p *person, key crypto.PublicKey) *protocol.Statement {
	return w.sign(&protocol.Revoke{
		Mesh: w.mesh, Issuer: p.key.Public(), Kind: protocol.RevokeKey, Target: key, At: time.Now().Unix(), Reason: "stolen",
	}, p.key)
}
