package broker

import (
	"encoding/json"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// opVerbs are the administrative acts that an op statement may ask for.
var opVerbs = map[string]func(c *conn, by crypto.PublicKey, args []byte) (any, error){
	protocol.OpKick:   opKick,
	protocol.OpAudit:  opAudit,
	protocol.OpDelete: opDelete,
}

// handleOp does an administrative act. The op statement alone authorises it: it answers a challenge of this connection, so
// that it works once, and whoever carries it gains nothing.
func (c *conn) handleOp(tag protocol.Tag, frame []byte) error {
	var f protocol.OpFrame
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	st, err := protocol.ParseTextIn(c.mesh.id, f.Statement)
	if err != nil {
		return err
	}
	op, ok := st.Body.(*protocol.Op)
	if !ok {
		return protocol.Refuse(protocol.CodeBadStatement, "not an op statement")
	}
	if !c.takeNonce(op.Nonce) {
		return protocol.Refuse(protocol.CodeUnauthorized, "the op does not answer this connection's challenge")
	}
	c.mesh.mu.Lock()
	admin, owner := c.mesh.adminLocked(op.By), op.By == c.mesh.view.Owner()
	c.mesh.mu.Unlock()
	if !admin {
		return protocol.Refuse(protocol.CodeForbidden, "only the owner and admins may %s", op.Verb)
	}
	do := opVerbs[op.Verb]
	if do == nil {
		return protocol.Refuse(protocol.CodeNotSupported, "this broker does not know how to %s", op.Verb)
	}
	if op.Verb == protocol.OpDelete && !owner {
		return protocol.Refuse(protocol.CodeForbidden, "only the owner may %s the mesh", op.Verb)
	}
	result, err := do(c, op.By, op.JSON)
	if err != nil {
		return err
	}
	c.log().Info("op", "verb", op.Verb, "by", op.By.Short())
	raw, err := json.Marshal(result)
	if err != nil {
		return err
	}
	c.reply(protocol.OK{Tag: protocol.Tag{Type: protocol.TypeOK, ReqID: tag.ReqID}, Result: raw})
	if op.Verb == protocol.OpDelete {
		c.expelDeleted()
	}
	return nil
}

// opKick ends the connections of a key, and of all sessions if it is a member's: {"key": hex} → {"kicked": n}.
func opKick(c *conn, by crypto.PublicKey, args []byte) (any, error) {
	var a struct {
		Key crypto.PublicKey `json:"key"`
	}
	if err := json.Unmarshal(args, &a); err != nil || a.Key.IsZero() {
		return nil, protocol.Refuse(protocol.CodeInvalid, `kick wants {"key": 64 hex digits}`)
	}
	m := c.mesh
	n := m.kick(a.Key)
	if n == 0 {
		return nil, protocol.Refuse(protocol.CodeNotFound, "%s is not connected", a.Key.Short())
	}
	m.note(auditKicked, by, auditDetail{Key: a.Key.String(), Count: n})
	return protocol.KickResult{Kicked: n}, nil
}

func (m *mesh) kick(key crypto.PublicKey) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for other := range m.conns {
		if other.key == key || other.member.key == key {
			other.expel(protocol.CodeKicked, "an admin ended this connection", ending{code: protocol.CloseKicked, text: "kicked", reason: endKicked})
			n++
		}
	}
	return n
}
