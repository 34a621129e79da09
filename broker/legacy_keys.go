package broker

import (
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// legacyKey is an API key that an original client asked for: a bearer alone, which the broker makes and knows. Nobody signed
// it, so it is no peer, no statement names it, and nothing can be sent with it: it opens the lists that its member's connections
// see. It dies with the member, with the policy that lets original clients in, and at its expiry.
type legacyKey struct {
	ID      string   `json:"id"`
	Label   string   `json:"label"`
	Hash    string   `json:"hash"` // SHA-256 of the bearer, hex
	Prefix  string   `json:"prefix"`
	Topics  []string `json:"topics,omitempty"`
	Created int64    `json:"created"` // Unix ms, as are the others
	Expires int64    `json:"expires,omitempty"`
	Used    int64    `json:"used,omitempty"`
	Revoked int64    `json:"revoked,omitempty"`

	mesh      *mesh
	member    *member
	savedUsed int64 // Used as it is on disk
}

func (k *legacyKey) name() (id, label string) { return k.ID, k.Label }
func (k *legacyKey) createdLocked() int64     { return k.Created }

func (k *legacyKey) overLocked() (at int64, reason string) {
	if k.Revoked != 0 {
		return k.Revoked, ""
	}
	if r, gone := k.mesh.view.RevokedOf(k.member.key, k.member.key); gone {
		return max(r.At*1000, 1), r.Reason
	}
	return 0, ""
}

func (k *legacyKey) goodLocked(now time.Time) error {
	at, _ := k.overLocked()
	switch {
	case at != 0:
		return protocol.Refuse(protocol.CodeRevoked, "the key was revoked")
	case k.Expires != 0 && now.UnixMilli() > k.Expires:
		return protocol.Refuse(protocol.CodeExpired, "the key is over")
	case k.mesh.standingLocked(k.member, now) != legacy:
		return protocol.Refuse(protocol.CodeForbidden, "the mesh takes no original clients any more")
	}
	return nil
}

func (k *legacyKey) itemLocked() protocol.APIKeyItem {
	at, reason := k.overLocked()
	item := protocol.APIKeyItem{
		ID: k.ID, Label: k.Label, Prefix: k.Prefix, Capabilities: []string{protocol.KeyCapRead}, CreatedAt: timeText(k.Created),
		LastUsedAt: timeOrNull(k.Used), RevokedAt: timeOrNull(at), ExpiresAt: timeOrNull(k.Expires),
		Member: k.member.key.String(), Reason: reason,
	}
	if len(k.Topics) > 0 {
		item.TopicScopes = k.Topics
	}
	return item
}

func (k *legacyKey) revoke(string) (already bool, err error) {
	m := k.mesh
	m.mu.Lock()
	if at, _ := k.overLocked(); at != 0 {
		m.mu.Unlock()
		return true, nil
	}
	k.Revoked = m.srv.now().UnixMilli()
	m.mu.Unlock()
	if err := m.saveOriginalHolding(k.member); err != nil {
		m.mu.Lock()
		k.Revoked = 0
		m.mu.Unlock()
		return false, err
	}
	m.srv.mu.Lock()
	delete(m.srv.legacyBearers, k.hash())
	m.srv.mu.Unlock()
	return false, nil
}

func (k *legacyKey) hash() (sum [32]byte) {
	hex.Decode(sum[:], []byte(k.Hash))
	return sum
}

// legacyBearer finds a key of an original member by the hash of its bearer.
func (s *Server) legacyBearer(hash [32]byte) *legacyKey {
	s.mu.Lock()
	k := s.legacyBearers[hash]
	s.mu.Unlock()
	if k == nil {
		return nil
	}
	if own := k.hash(); subtle.ConstantTimeCompare(own[:], hash[:]) != 1 {
		return nil
	}
	return k
}

// used notes that the key was used. On disk that is exact to usedEvery.
func (k *legacyKey) used() {
	m, now := k.mesh, k.mesh.srv.now().UnixMilli()
	m.mu.Lock()
	k.Used = now
	due := now-k.savedUsed >= usedEvery.Milliseconds()
	if due {
		k.savedUsed = now
	}
	m.mu.Unlock()
	if due {
		m.saveOriginal(k.member) // a refusal is in the log, and costs no more than the date
	}
}

// legacyKeyMade answers apikey_create of an original client. The secret is in no other frame and on no disk.
type legacyKeyMade struct {
	protocol.Tag
	protocol.APIKeyItem
	Secret string `json:"secret"`
}

const codeBadArguments protocol.Code = "invalid_args" // the original's word where it refuses arguments of API keys

// legacyCreateKey makes a bearer that reads. What sends must be signed by its member, which these clients cannot do.
func (c *conn) legacyCreateKey(f *legacyFields) error {
	m, p, now := c.mesh, c.member, c.srv.now()
	label := plainWord(f.Label, maxLegacyWord)
	if label == "" || f.Caps == nil || len(*f.Caps) == 0 || len(f.Topics) > maxLegacyGroups {
		return protocol.Refuse(codeBadArguments, "a key needs a label and capabilities")
	}
	if !slices.Contains(*f.Caps, protocol.KeyCapRead) {
		return protocol.Refuse(protocol.CodeForbidden, "a key of this client's can only read: what it would send, nobody would have signed")
	}
	expires := int64(0)
	if f.ExpiresAt != "" {
		t, err := time.Parse(time.RFC3339, f.ExpiresAt)
		if err != nil || !t.After(now) {
			return protocol.Refuse(codeBadArguments, "expiresAt is no time to come")
		}
		expires = t.UnixMilli()
	}
	bearer := protocol.NewAPISecret().Bearer
	k := &legacyKey{
		ID: protocol.MessageID(m.id, p.key, protocol.NewClientID()), Label: label, Hash: bearer.Hash(), Prefix: bearer.Prefix(),
		Created: now.UnixMilli(), Expires: expires, mesh: m, member: p,
	}
	for _, t := range f.Topics {
		k.Topics = append(k.Topics, plainWord(t, maxLegacyWord))
	}
	if err := m.addLegacyKey(k, now); err != nil {
		return err
	}
	c.log().Info("API key created", "id", k.ID, "label", k.Label)
	m.note(auditKeyCreated, p.key, auditDetail{Key: k.ID, Label: k.Label})
	m.mu.Lock()
	item := k.itemLocked()
	m.mu.Unlock()
	c.reply(legacyKeyMade{Tag: protocol.Tag{Type: protocol.TypeAPIKeyCreated, ReqID: f.ReqID}, APIKeyItem: item, Secret: bearer.Text()})
	return nil
}

// addLegacyKey writes the key and lets it in. 1.37 makes one for each command that speaks HTTP, so the oldest that is over gives
// way.
func (m *mesh) addLegacyKey(k *legacyKey, now time.Time) error {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	m.mu.Lock()
	o, old := k.member.original, k.member.original.Keys
	keys := slices.Clone(old)
	var dropped *legacyKey
	if len(keys) >= keysPerMember {
		i := slices.IndexFunc(keys, func(k *legacyKey) bool { return k.goodLocked(now) != nil })
		if i < 0 {
			m.mu.Unlock()
			return protocol.Refuse(protocol.CodeCapacity, "%d keys of yours are in use, the most that this broker allows", len(keys))
		}
		dropped = keys[i]
		keys = slices.Delete(keys, i, i+1)
	}
	o.Keys = append(keys, k)
	m.mu.Unlock()
	if err := m.saveOriginalHolding(k.member); err != nil {
		m.mu.Lock()
		o.Keys = old
		m.mu.Unlock()
		return err
	}
	m.srv.mu.Lock()
	defer m.srv.mu.Unlock()
	m.srv.legacyBearers[k.hash()] = k
	if dropped != nil {
		delete(m.srv.legacyBearers, dropped.hash())
	}
	return nil
}

// loadLegacyKeys enters the keys of p, which come from the disk. The caller is alone.
func (m *mesh) loadLegacyKeys(p *member) {
	for _, k := range p.original.Keys {
		k.mesh, k.member, k.savedUsed = m, p, k.Used
		if k.Revoked == 0 {
			m.srv.legacyBearers[k.hash()] = k
		}
	}
}

func (c *conn) legacyListKeys(f *legacyFields) error {
	c.reply(protocol.APIKeys{Tag: protocol.Tag{Type: protocol.TypeAPIKeys, ReqID: f.ReqID}, Keys: c.mesh.keyItems(c.member)})
	return nil
}

// legacyKeyRevoked answers apikey_revoke of an original client, which reads a number where ours read the ids.
type legacyKeyRevoked struct {
	protocol.Tag
	Status  string `json:"status"`
	ID      string `json:"id,omitempty"`
	Matches int    `json:"matches,omitempty"`
	Already bool   `json:"already,omitempty"`
}

func (c *conn) legacyRevokeKey(f *legacyFields) error {
	if len(f.ID) < protocol.MinKeyPrefix {
		return protocol.Refuse(codeBadArguments, "a key is named by its id, or by %d or more characters of its beginning", protocol.MinKeyPrefix)
	}
	found, already, err := c.mesh.revokeNamed(c.member, f.ID)
	if err != nil {
		return err
	}
	answer := legacyKeyRevoked{Tag: protocol.Tag{Type: protocol.TypeAPIKeyRevoked, ReqID: f.ReqID}}
	switch len(found) {
	case 0:
		answer.Status = protocol.KeyNotFound
	case 1:
		answer.Status, answer.Already = protocol.KeyRevoked, already
		answer.ID, _ = found[0].name()
	default:
		answer.Status, answer.Matches = protocol.KeyNotUnique, len(found)
	}
	c.reply(answer)
	return nil
}
