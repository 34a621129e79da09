package broker

import (
	"encoding/json"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// opVerbs are the administrative acts that an op statement may ask for.
var opVerbs = map[string]func(c *conn, by crypto.PublicKey, args []byte) (any, error){
	"kick": opKick,
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
	v := c.mesh.view
	c.mesh.mu.Unlock()
	if by, ok := v.Member(op.By); op.By != v.Owner() && !(ok && by.Role == protocol.RoleAdmin) {
		return protocol.Refuse(protocol.CodeForbidden, "only the owner and admins may %s", op.Verb)
	}
	do := opVerbs[op.Verb]
	if do == nil {
		return protocol.Refuse(protocol.CodeNotSupported, "this broker does not know how to %s", op.Verb)
	}
	result, err := do(c, op.By, op.JSON)
	if err != nil {
		return err
	}
	c.log.Info("op", "verb", op.Verb, "by", op.By.Short())
	raw, err := json.Marshal(result)
	if err != nil {
		return err
	}
	c.reply(protocol.OK{Tag: protocol.Tag{Type: protocol.TypeOK, ReqID: tag.ReqID}, Result: raw})
	return nil
}

// opKick ends the connections of a key, and of all sessions if it is a member's: {"key": hex} → {"kicked": n}.
func opKick(c *conn, _ crypto.PublicKey, args []byte) (any, error) {
	var a struct {
		Key crypto.PublicKey `json:"key"`
	}
	if err := json.Unmarshal(args, &a); err != nil || a.Key.IsZero() {
		return nil, protocol.Refuse(protocol.CodeInvalid, `kick wants {"key": 64 hex digits}`)
	}
	m := c.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for other := range m.conns {
		if other.key == a.Key || other.member.key == a.Key {
			other.expel(protocol.CodeKicked, "an admin ended this connection", ending{code: protocol.CloseKicked, text: "kicked", reason: endKicked})
			n++
		}
	}
	if n == 0 {
		return nil, protocol.Refuse(protocol.CodeNotFound, "%s is not connected", a.Key.Short())
	}
	return map[string]int{"kicked": n}, nil
}
