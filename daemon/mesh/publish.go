package mesh

import (
	"context"
	"errors"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// Publish verifies statements that somebody else signed (the owner key, on the command line), has the broker take them and
// merges them. It returns nil when they count here: the broker's word alone makes nothing done.
func (m *Mesh) Publish(ctx context.Context, texts ...string) error {
	var statements []*protocol.Statement
	for _, text := range texts {
		s, err := protocol.ParseTextIn(m.meshID, text)
		if err == nil {
			err = s.CheckDate(m.env.now())
		}
		if err != nil {
			return err
		}
		statements = append(statements, s)
	}
	if err := m.offerAnyhow(ctx, statements); err != nil {
		return err
	}
	return m.learnOwn(statements...)
}

// offerAnyhow has the broker take statements over the connection, and without one by HTTP: who is kept from connecting, by a
// copy of his keys or a removal, may still revoke and take the mesh back. It returns the refusal of the first that was not
// taken.
func (m *Mesh) offerAnyhow(ctx context.Context, statements []*protocol.Statement) error {
	c, err := m.control.open()
	if err != nil {
		return m.offerByHTTP(ctx, statements)
	}
	got, err := offerTo(c, statements)
	if err != nil && connectionFailed(err) {
		return m.offerByHTTP(ctx, statements)
	}
	if err == nil && len(got.Refused) > 0 {
		err = protocol.Refuse(got.Refused[0].Code, "the broker did not take it: %s", protocol.Neutralize(got.Refused[0].Message))
	}
	return err
}

// connectionFailed reports whether err says nothing of the statements that were offered.
func connectionFailed(err error) bool {
	e, refused := errors.AsType[*protocol.Error](err)
	if !refused {
		return true
	}
	switch e.Code {
	case protocol.CodeUnavailable, protocol.CodeTimeout, protocol.CodeKicked, protocol.CodeCloned:
		return true
	}
	return false
}

// offersPerRequest is how many statements a broker takes over HTTP at once.
const offersPerRequest = 100

func (m *Mesh) offerByHTTP(ctx context.Context, statements []*protocol.Statement) error {
	for len(statements) > 0 {
		n := min(len(statements), offersPerRequest)
		var texts []string
		for _, s := range statements[:n] {
			texts = append(texts, s.Text())
		}
		offer := protocol.OfferRequest{Mesh: m.meshID, Statements: texts}
		if err := m.env.Broker.Post(ctx, m.cfg.BrokerURL, "/api/v1/statements", "", offer, new(protocol.OKReply)); err != nil {
			return err
		}
		statements = statements[n:]
	}
	return nil
}

// learnOwn merges statements that are the user's will, and returns why one of them does not count here.
func (m *Mesh) learnOwn(statements ...*protocol.Statement) error {
	if err := m.learnStatements(statements); err != nil {
		return err
	}
	view := m.trust.View()
	for _, s := range statements {
		held := m.trust.Statement(s.ID) != nil
		switch {
		case view.InForce(s.ID), s.ID == view.Charter().ID, revokedAnyhow(view, s, held):
		case !held:
			return protocol.Refuse(protocol.CodeMeshFull, "%s holds as many statements as this daemon keeps of one signer: the %s statement does not count here", m.Slug(), s.Kind)
		default:
			return protocol.Refuse(protocol.CodeForbidden, "the %s statement has no force in %s: %s may not say that", s.Kind, m.Slug(), s.Signer().Short())
		}
	}
	return nil
}

// revokedAnyhow reports whether s revokes a key that another statement revokes, or closes a link whose issuer may make no more.
func revokedAnyhow(view *protocol.View, s *protocol.Statement, held bool) bool {
	revoke, ok := s.Body.(*protocol.Revoke)
	switch {
	case !ok:
		return false
	case revoke.Kind == protocol.RevokeLink:
		return held
	}
	_, revoked := view.Revoked(revoke.Target)
	return revoked && revoke.Kind == protocol.RevokeKey
}

// Ban revokes a member's key with our own, as an admin.
func (m *Mesh) Ban(ctx context.Context, key crypto.PublicKey, reason string) error {
	view := m.trust.View()
	switch {
	case !view.MayIssue(m.self, protocol.RoleMember):
		return protocol.Refuse(protocol.CodeForbidden, "only admins of %s remove members", m.Slug())
	case view.IsAdmin(key) || key == view.Owner():
		return protocol.Refuse(protocol.CodeForbidden, "an admin is removed with the owner key")
	}
	return m.revoke(ctx, key, reason)
}

// Leave revokes our own key. It needs the broker: a leave that nobody hears of would be none.
func (m *Mesh) Leave(ctx context.Context) error {
	s, err := m.farewell()
	if err != nil {
		return err
	}
	err = m.Publish(ctx, s.Text())
	if protocol.CodeOf(err) == protocol.CodeRevoked {
		return nil // the broker took it, and ended the connection of the key before it answered
	}
	return err
}

func (m *Mesh) revoke(ctx context.Context, key crypto.PublicKey, reason string) error {
	s, err := protocol.Sign(&protocol.Revoke{
		Mesh: m.meshID, Issuer: m.self, Kind: protocol.RevokeKey, Target: key, At: m.env.now().Unix(), Reason: reason,
	}, m.key)
	if err != nil {
		return err
	}
	return m.Publish(ctx, s.Text())
}
