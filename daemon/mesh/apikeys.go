package mesh

import (
	"context"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// CreateAPIKey makes a key, signs for it and has the broker let it in. The secret is in the answer and nowhere else.
func (m *Mesh) CreateAPIKey(req protocol.APIKeyRequest) (protocol.APIKeyMade, error) {
	var made protocol.APIKeyMade
	c, err := m.control.open()
	if err != nil {
		return made, err
	}
	secret := protocol.NewAPISecret()
	statement, err := m.signAPIKey(req, secret.Key)
	if err != nil {
		return made, err
	}
	frame := protocol.APIKeyCreate{
		Tag: protocol.Tag{Type: protocol.TypeAPIKeyCreate}, Statement: statement.Text(), Hash: secret.Bearer.Hash(), Prefix: secret.Bearer.Prefix(),
	}
	var created protocol.APIKeyCreated
	if err := c.ask(&frame, &frame.Tag, protocol.TypeAPIKeyCreated, &created); err != nil {
		return made, err
	}
	if err := m.trust.LearnAPIKeys([]*protocol.Statement{statement}); err != nil {
		return made, err
	}
	return protocol.APIKeyMade{
		OK: true, APIKeyInfo: m.keyInfo(created.APIKeyItem), Secret: secret.Text(), URL: protocol.HTTPBase(m.cfg.BrokerURL) + "/api/v1",
	}, nil
}

func (m *Mesh) signAPIKey(req protocol.APIKeyRequest, key *crypto.PrivateKey) (*protocol.Statement, error) {
	caps, topics := slices.Clone(req.Capabilities), slices.Clone(req.Topics)
	slices.Sort(caps)
	slices.Sort(topics)
	caps, topics = slices.Compact(caps), slices.Compact(topics)
	now := m.env.now().UnixMilli()
	switch {
	case !protocol.ValidLabel(req.Label):
		return nil, protocol.Refuse(protocol.CodeInvalid, "%q is no label: a label has up to 32 of a-z, 0-9, '.', '_' and '-'", req.Label)
	case len(caps) == 0:
		return nil, protocol.Refuse(protocol.CodeInvalid, "a key that may do nothing")
	case req.Expires != 0 && req.Expires <= now:
		return nil, protocol.Refuse(protocol.CodeInvalid, "the key would have expired already")
	}
	for _, c := range caps {
		if !slices.Contains(protocol.KeyCaps(), c) {
			e := protocol.Refuse(protocol.CodeInvalid, "there is no capability %q", c)
			e.Names = protocol.KeyCaps()
			return nil, e
		}
	}
	for _, t := range topics {
		if !protocol.ValidGroup(t) {
			return nil, protocol.Refuse(protocol.CodeInvalid, "%q is not the name of a topic", t)
		}
	}
	return protocol.Sign(&protocol.APIKey{
		Mesh: m.meshID, Member: m.self, Key: key.Public(), Label: req.Label, Caps: caps, Topics: topics, Issued: now, Expires: req.Expires,
	}, m.key, key)
}

// keyInfo is a key as the broker tells of it.
func (m *Mesh) keyInfo(item protocol.APIKeyItem) protocol.APIKeyInfo {
	info := protocol.APIKeyInfo{
		Mesh: m.Slug(), ID: item.ID, Label: protocol.NeutralizeName(item.Label), Prefix: protocol.NeutralizeName(item.Prefix),
		Capabilities: slices.Clone(item.Capabilities), Topics: slices.Clone(item.TopicScopes), MemberPubkey: item.Member,
		CreatedAt: item.CreatedAt, LastUsedAt: item.LastUsedAt, ExpiresAt: item.ExpiresAt, RevokedAt: item.RevokedAt,
		Reason: protocol.Neutralize(item.Reason),
	}
	if info.Capabilities == nil {
		info.Capabilities = []string{}
	}
	if info.Topics == nil {
		info.Topics = []string{}
	}
	if member, err := crypto.ParsePublicKey(item.Member); err == nil {
		info.Member = m.CallName(member)
	}
	return info
}

// APIKeys lists the keys that this member may revoke, the newest first.
func (m *Mesh) APIKeys() ([]protocol.APIKeyInfo, error) {
	c, err := m.control.open()
	if err != nil {
		return nil, err
	}
	ask := protocol.APIKeyList{Tag: protocol.Tag{Type: protocol.TypeAPIKeyList}}
	var got protocol.APIKeys
	if err := c.ask(&ask, &ask.Tag, protocol.TypeAPIKeys, &got); err != nil {
		return nil, err
	}
	all := []protocol.APIKeyInfo{}
	for _, item := range got.Keys {
		all = append(all, m.keyInfo(item))
	}
	return all, nil
}

// RevokeAPIKey has the broker refuse a key, and tells the mesh to.
func (m *Mesh) RevokeAPIKey(ctx context.Context, id, reason string) (protocol.RevokeAPIKeyReply, error) {
	var reply protocol.RevokeAPIKeyReply
	if len(id) < protocol.MinKeyPrefix {
		e := protocol.Refuse(protocol.CodeInvalid, "%q is too short: a key is named by its id, or by %d or more characters of it", id, protocol.MinKeyPrefix)
		e.Names = m.keysThatBegin(id)
		return reply, e
	}
	c, err := m.control.open()
	if err != nil {
		return reply, err
	}
	ask := protocol.APIKeyRevoke{Tag: protocol.Tag{Type: protocol.TypeAPIKeyRevoke}, ID: id}
	var got protocol.APIKeyRevoked
	if err := c.ask(&ask, &ask.Tag, protocol.TypeAPIKeyRevoked, &got); err != nil {
		return reply, err
	}
	switch got.Status {
	case protocol.KeyRevoked:
	case protocol.KeyNotUnique:
		e := protocol.Refuse(protocol.CodeAmbiguous, "%q begins the ids of %d keys in %s: none was revoked", id, len(got.Matches), m.Slug())
		e.Names = got.Matches
		return reply, e
	case protocol.KeyNotFound:
		return reply, protocol.Refuse(protocol.CodeNotFound, "no API key %q of yours in %s", id, m.Slug()).WithHint("claudemesh apikey list")
	default:
		return reply, protocol.Refuse(protocol.CodeBadFrame, "the broker says %q of the key", protocol.NeutralizeName(got.Status))
	}
	reply = protocol.RevokeAPIKeyReply{OK: true, Status: got.Status, Mesh: m.Slug(), ID: got.ID, Already: got.Already, RevokedAt: got.RevokedAt, Published: true}
	key, err := crypto.ParsePublicKey(got.ID)
	if err != nil {
		return reply, protocol.Refuse(protocol.CodeBadFrame, "the broker revoked an invalid key")
	}
	if _, gone := m.trust.View().RevokedOf(m.trust.APIKeyMember(key, m.self), key); gone {
		return reply, nil
	}
	if err := m.revoke(ctx, key, reason); err != nil {
		reply.Published, reply.Reason = false, err.Error()
	}
	return reply, nil
}

// keysThatBegin lists the candidates for an ambiguous prefix: the newest keys that are still valid. Without a broker the list is
// empty.
func (m *Mesh) keysThatBegin(head string) (ids []string) {
	const most = 10
	all, err := m.APIKeys()
	if err != nil {
		return nil
	}
	for _, k := range all {
		if len(ids) < most && k.RevokedAt == nil && strings.HasPrefix(k.ID, head) {
			ids = append(ids, k.ID)
		}
	}
	return ids
}
