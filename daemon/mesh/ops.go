package mesh

import (
	"encoding/hex"

	"github.com/claudemesh/claudemesh/protocol"
)

// OpNonce asks the broker what the next op statement on our connection must name.
func (m *Mesh) OpNonce() (nonce [32]byte, err error) {
	c, err := m.control.open()
	if err != nil {
		return nonce, err
	}
	ask := protocol.HelloChallenge{Tag: protocol.Tag{Type: protocol.TypeHelloChallenge}, MeshID: string(m.meshID)}
	var got protocol.Challenge
	if err := c.ask(&ask, &ask.Tag, protocol.TypeChallenge, &got); err != nil {
		return nonce, err
	}
	b, err := hex.DecodeString(got.Nonce)
	if err != nil || len(b) != len(nonce) {
		return nonce, protocol.Refuse(protocol.CodeBadFrame, "the broker's challenge has no nonce")
	}
	return [32]byte(b), nil
}

// Op has the broker do an administrative act, and returns its result. Without a statement of the owner's it is signed with the
// member key.
func (m *Mesh) Op(req protocol.OpRequest) (protocol.OpReply, error) {
	if req.Signed == "" {
		nonce, err := m.OpNonce()
		if err != nil {
			return protocol.OpReply{}, err
		}
		args := req.Args
		if args == nil {
			args = []byte("{}")
		}
		s, err := protocol.Sign(&protocol.Op{Mesh: m.meshID, By: m.self, Nonce: nonce, Verb: req.Verb, JSON: args}, m.key)
		if err != nil {
			return protocol.OpReply{}, protocol.Refuse(protocol.CodeInvalid, "sign the op: %v", err)
		}
		req.Signed = s.Text()
	}
	c, err := m.control.open()
	if err != nil {
		return protocol.OpReply{}, err
	}
	frame := protocol.OpFrame{Tag: protocol.Tag{Type: protocol.TypeOp}, Statement: req.Signed}
	var got protocol.OK
	if err := c.ask(&frame, &frame.Tag, protocol.TypeOK, &got); err != nil {
		return protocol.OpReply{}, err
	}
	return protocol.OpReply{OK: true, Result: got.Result}, nil
}
