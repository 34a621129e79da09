package broker

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// auditLog asks for the whole log, as the admin.
func (c *client) auditLog() protocol.AuditPage {
	c.w.Helper()
	st := c.w.sign(&protocol.Op{Mesh: c.w.mesh, By: c.key.Public(), Nonce: c.challenge(), Verb: protocol.OpAudit, JSON: []byte("{}")}, c.key)
	var ok protocol.OK
	c.request(protocol.OpFrame{Tag: protocol.Tag{Type: protocol.TypeOp}, Statement: st.Text()}, protocol.TypeOK, &ok)
	var page protocol.AuditPage
	if err := json.Unmarshal(ok.Result, &page); err != nil {
		c.w.Fatal(err)
	}
	return page
}

func TestAuditIsAChainWithoutMessages(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		bob.register(w.bob.apiKey("ci", 0, "send"))
		sent := alice.Send(w.bob, "hello")
		w.restart()
		alice = w.alice.connect()
		page := alice.auditLog()
		if err := protocol.VerifyAudit(page.Entries, ""); err != nil {
			t.Error(err)
		}
		seen := map[string]bool{}
		for _, e := range page.Entries {
			seen[e.Event] = true
		}
		for _, event := range []string{auditCreated, auditStatement, auditJoined, auditLeft, auditKeyCreated} {
			if !seen[event] {
				t.Errorf("no %s in %v", event, seen)
			}
		}
		b, _ := json.Marshal(page)
		if strings.Contains(string(b), sent.ID) || strings.Contains(string(b), sent.Ciphertext) {
			t.Error("a message is in the log")
		}
		for i := range page.Entries {
			tampered := append([]protocol.AuditEntry(nil), page.Entries...)
			tampered[i].Actor = w.cathy.key.Public().String()
			if protocol.VerifyAudit(tampered, "") == nil {
				t.Errorf("entry %d can be changed", i+1)
			}
			if cut := append(append([]protocol.AuditEntry(nil), page.Entries[:i]...), page.Entries[i+1:]...); i < len(page.Entries)-1 && i > 0 && protocol.VerifyAudit(cut, "") == nil {
				t.Errorf("entry %d can be taken out", i+1)
			}
		}
	})
}

// A deleted mesh leaves nothing, and can be made anew.
func TestDeleteLeavesNothing(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		ci := bob.register(w.bob.apiKey("ci", 0, "read"))
		bob.Send(w.cathy, "waits")
		st := w.sign(&protocol.Op{Mesh: w.mesh, By: w.owner.Public(), Nonce: alice.challenge(), Verb: protocol.OpDelete, JSON: []byte("{}")}, w.owner)
		var ok protocol.OK
		alice.request(protocol.OpFrame{Tag: protocol.Tag{Type: protocol.TypeOp}, Statement: st.Text()}, protocol.TypeOK, &ok)
		alice.wantClose(1008)
		bob.wantClose(1008)
		w.wantRESTRefused(ci.secret.Bearer.Text(), "GET", "/api/v1/key", nil, 401, protocol.RESTKeyInvalid)
		w.restart()
		if w.srv.mesh(w.mesh) != nil {
			t.Error("the mesh is back")
		}
		req := protocol.CreateRequest{Statements: []string{w.charter.Text(), w.certify(w.alice, protocol.RoleAdmin).Text(), w.certify(w.cathy, protocol.RoleMember).Text()}}
		if code, body := w.post("/api/v1/meshes", w.srv.AdminToken(), req); code != 201 {
			t.Fatalf("create again: %s", body)
		}
		w.cathy.connect().wantNone(protocol.TypePush)
		if page := w.alice.connect().auditLog(); page.Entries[0].N != 1 {
			t.Errorf("the log begins with %d", page.Entries[0].N)
		}
	})
}

// The audit log of a mesh that is years old: the newest entries push out the oldest, one for one.
func TestAuditIsBounded(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		have := w.rows(bucketAudit)
		err := w.srv.db.Update(func(tx *store.Tx) error {
			for n := uint64(have) + 1; n <= auditKept-1; n++ {
				line, err := json.Marshal(protocol.AuditEntry{N: n, Event: auditJoined})
				if err == nil {
					err = tx.Put(bucketAudit, numberKey(w.mesh, n), line)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.alice.connect()
		synctest.Wait()
		if n, first := w.rows(bucketAudit), w.srv.mesh(w.mesh).audit.first; n != auditKept || first != 1 {
			t.Errorf("at the limit: %d entries, the first is %d", n, first)
		}
		w.bob.connect()
		synctest.Wait()
		if n, first := w.rows(bucketAudit), w.srv.mesh(w.mesh).audit.first; n != auditKept || first != 2 {
			t.Errorf("one past it: %d entries, the first is %d", n, first)
		}
	})
}
