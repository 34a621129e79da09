package mesh

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// hello opens the connection:
//
//	hello_challenge {meshId}                    →
//	                                            ←  challenge {nonce, capabilities}
//	hello or session_hello {auth, session}      →  auth answers the nonce, session is signed afresh
//	                                            ←  hello_ack
func (w *worker) hello() error {
	challenge := protocol.HelloChallenge{Tag: protocol.Tag{Type: protocol.TypeHelloChallenge}, MeshID: string(w.m.meshID)}
	var nonce protocol.Challenge
	err := w.c.call(&challenge, &challenge.Tag, protocol.TypeChallenge, &nonce)
	if protocol.CodeOf(err) == protocol.CodeNoHello {
		return errDowngrade("it knows no signed hello")
	}
	if err != nil {
		return err
	}
	if err := checkCapabilities(nonce.Capabilities); err != nil {
		return err
	}
	w.c.grants = slices.Contains(nonce.Capabilities, protocol.CapGrants)
	frame, err := w.helloFrame(nonce.Nonce)
	if err != nil {
		return err
	}
	var ack protocol.HelloAck
	if err := w.c.call(frame, &frame.Tag, protocol.TypeHelloAck, &ack); err != nil {
		return err
	}
	if ack.RetentionDays > 0 && ack.RetentionDays <= maxRetentionDays {
		w.m.mu.Lock()
		w.m.kept = ack.RetentionDays
		w.m.mu.Unlock()
	}
	return nil
}

// maxRetentionDays is what a broker may say: it may keep a message for so long, and no longer.
const maxRetentionDays = int(protocol.MaxRetention / (24 * time.Hour))

// checkCapabilities refuses a broker that would leave us with less than what a mesh with a charter needs.
func checkCapabilities(offered []string) error {
	for _, need := range []string{protocol.CapTrust, protocol.CapEnvelope2} {
		if !slices.Contains(offered, need) {
			return errDowngrade("it lacks " + need)
		}
	}
	return nil
}

func errDowngrade(why string) error {
	return protocol.Refuse(protocol.CodeDowngrade, "this broker cannot serve the mesh safely: %s", why).
		WithHint("update the broker; nothing was sent to it")
}

// helloFrame signs the hello for a nonce. The session statement is a new one at every connect, so a session never drops
// because it is old.
func (w *worker) helloFrame(nonce string) (*protocol.Hello, error) {
	u, m := w.u, w.m
	raw, err := hex.DecodeString(nonce)
	if err != nil || len(raw) != 32 {
		return nil, protocol.Refuse(protocol.CodeBadFrame, "the broker's challenge is not 32 bytes")
	}
	u.mu.Lock()
	u.statement, u.status = false, false // both are in this frame; what changes from here on is sent after it
	u.mu.Unlock()
	statement, err := m.ring.Statement(u.key, true)
	if err != nil {
		return nil, err
	}
	auth := &protocol.HelloAuth{
		Mesh: m.meshID, Member: m.self, Host: protocol.BrokerHost(m.cfg.BrokerURL), Nonce: [32]byte(raw),
		At: m.env.now().UnixMilli(), Features: protocol.Capabilities(), Instance: m.inst,
	}
	if m.isHost {
		auth.Features = slices.Sorted(slices.Values(append(auth.Features, protocol.FeatureHost)))
	}
	signers := []*crypto.PrivateKey{m.key}
	if !u.control {
		auth.Session, signers = u.key, append(signers, m.ring.Private(u.key))
	}
	signed, err := protocol.Sign(auth, signers...)
	if err != nil {
		return nil, err
	}
	s, _ := m.ring.Session(u.key)
	frame := &protocol.Hello{
		Tag: protocol.Tag{Type: protocol.TypeHello}, MeshID: string(m.meshID), SessionID: s.ID,
		PeerType: s.PeerType, Channel: s.Channel, Status: s.Status,
		ProtocolVersion: protocol.Version, Capabilities: protocol.Capabilities(),
		Auth: signed.Text(), Session: statement.Text(),
	}
	if !u.control {
		frame.Type = protocol.TypeSessionHello
	}
	return frame, nil
}
