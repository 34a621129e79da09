package broker

import (
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

const (
	// keysPerMember is how many keys of one member may be in use: a key a job, not a key a run.
	keysPerMember = 256

	// keysRemembered is how many keys of one member are listed, with those that are over.
	keysRemembered = 2048

	// keyMemory is how long a key that is over is still listed.
	keyMemory = 90 * 24 * time.Hour

	// usedEvery is how exact last_used_at is on disk.
	usedEvery = time.Minute

	prefixTail = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
)

// apiKey is a key that a member made for a script. It is an address like a session key, and speaks HTTP.
type apiKey struct {
	// fixed at construction
	mesh   *mesh
	member *member
	st     *protocol.Statement
	body   *protocol.APIKey
	hash   [32]byte // SHA-256 of the bearer
	prefix string

	// guarded by the mesh's mutex
	created   int64 // Unix ms, as are the others
	lastUsed  int64
	savedUsed int64 // lastUsed as it is on disk
	revokedAt int64 // by a request; 0: not, which says nothing of statements
	reason    string
}

// keyRow is a key on disk.
type keyRow struct {
	Statement string `json:"statement"`
	Hash      string `json:"hash"`
	Prefix    string `json:"prefix"`
	Created   int64  `json:"created"`
	LastUsed  int64  `json:"last_used,omitempty"`
	RevokedAt int64  `json:"revoked_at,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

func (k *apiKey) rowLocked() keyRow {
	return keyRow{
		Statement: k.st.Text(), Hash: hex.EncodeToString(k.hash[:]), Prefix: k.prefix,
		Created: k.created, LastUsed: k.lastUsed, RevokedAt: k.revokedAt, Reason: k.reason,
	}
}

func putKey(tx *store.Tx, m *mesh, key crypto.PublicKey, row keyRow) error {
	b, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return tx.Put(bucketKeys, memberKey(m.id, key), b)
}

// newAPIKey checks a key that a member, or the disk, offers.
func newAPIKey(m *mesh, statement, hash, prefix string) (*apiKey, error) {
	st, err := protocol.ParseTextIn(m.id, statement)
	if err != nil {
		return nil, err
	}
	body, ok := st.Body.(*protocol.APIKey)
	if !ok {
		return nil, protocol.Refuse(protocol.CodeBadStatement, "not an apikey statement")
	}
	k := &apiKey{mesh: m, st: st, body: body, prefix: prefix}
	sum, err := hex.DecodeString(hash)
	if err != nil || len(sum) != len(k.hash) {
		return nil, protocol.Refuse(protocol.CodeInvalid, "hash is not 64 hex digits")
	}
	k.hash = [32]byte(sum)
	tail, ok := strings.CutPrefix(prefix, "cm_")
	if !ok || len(prefix) != protocol.BearerPrefix || strings.Trim(tail, prefixTail) != "" {
		return nil, protocol.Refuse(protocol.CodeInvalid, "prefix is not the first %d characters of a bearer", protocol.BearerPrefix)
	}
	if len(body.Caps) == 0 {
		return nil, protocol.Refuse(protocol.CodeInvalid, "a key needs a capability: %s", strings.Join(protocol.KeyCaps(), ", "))
	}
	for _, c := range body.Caps {
		if !slices.Contains(protocol.KeyCaps(), c) {
			return nil, protocol.Refuse(protocol.CodeInvalid, "this broker knows no capability %q, only %s", c, strings.Join(protocol.KeyCaps(), ", "))
		}
	}
	return k, nil
}

// loadKeys reads the keys of the mesh. The server's table is filled by the caller, who is alone.
func (m *mesh) loadKeys(tx *store.Tx) error {
	for key, v := range tx.Scan(bucketKeys, []byte(m.id), nil) {
		var row keyRow
		if err := json.Unmarshal(v, &row); err != nil {
			return err
		}
		k, err := newAPIKey(m, row.Statement, row.Hash, row.Prefix)
		if err != nil {
			return err
		}
		k.created, k.lastUsed, k.savedUsed, k.revokedAt, k.reason = row.Created, row.LastUsed, row.LastUsed, row.RevokedAt, row.Reason
		m.addKeyLocked(k)
		m.srv.bearers[k.hash] = k
		if k.body.Key != crypto.PublicKey(key[meshIDSize:]) {
			return store.ErrCorrupt
		}
	}
	return nil
}

// addKeyLocked makes the key an address of its member.
func (m *mesh) addKeyLocked(k *apiKey) {
	k.member = m.memberLocked(k.body.Member)
	if k.member.keys == nil {
		k.member.keys = make(map[crypto.PublicKey]*apiKey)
	}
	m.keys[k.body.Key], k.member.keys[k.body.Key] = k, k
	a := newAddress(m.id, k.member, k.body.Key)
	a.api = k
	m.addresses[k.body.Key] = a
}

// overLocked tells since when the key is revoked, by a request or by a statement, and why. Zero: it is not.
func (k *apiKey) overLocked() (at int64, reason string) {
	if k.revokedAt != 0 {
		return k.revokedAt, k.reason
	}
	if r, gone := k.mesh.view.RevokedOf(k.body.Member, k.body.Key); gone {
		return max(r.At*1000, 1), r.Reason
	}
	return 0, ""
}

// goodLocked tells why the key may do nothing now, or nil: its member is in, its time is not over, nobody revoked it.
func (k *apiKey) goodLocked(now time.Time) error {
	if at, _ := k.overLocked(); at != 0 {
		return protocol.Refuse(protocol.CodeRevoked, "the key was revoked")
	}
	return k.mesh.view.CheckSession(k.st, false, now)
}

// readsLocked tells whether messages to the key are taken.
func (k *apiKey) readsLocked(now time.Time) bool {
	return k.body.Can(protocol.KeyCapRead) && k.goodLocked(now) == nil
}

// handleKeyCreate lets in a key that the member of this connection signed.
func (c *conn) handleKeyCreate(tag protocol.Tag, frame []byte) error {
	var f protocol.APIKeyCreate
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	k, err := newAPIKey(c.mesh, f.Statement, f.Hash, f.Prefix)
	if err != nil {
		return err
	}
	if k.body.Member != c.member.key {
		return protocol.Refuse(protocol.CodeForbidden, "a key is made by its own member")
	}
	m := c.mesh
	if other := m.srv.bearer(k.hash); other != nil && other.st.ID != k.st.ID {
		return protocol.Refuse(protocol.CodeExists, "the bearer is in use already")
	}
	m.publishing.Lock() // no key comes between the look and the commit
	defer m.publishing.Unlock()
	now := m.srv.now()
	k.created = now.UnixMilli()
	m.mu.Lock()
	have, err := m.mayAddKeyLocked(k, now)
	m.mu.Unlock()
	if err == nil && have == nil {
		if have, err = k, m.saveKey(k); err == nil {
			c.log().Info("API key created", "id", k.body.Key.Short(), "label", k.body.Label)
			m.note(auditKeyCreated, c.member.key, auditDetail{Key: k.body.Key.String(), Label: k.body.Label})
		}
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	item := have.itemLocked()
	m.mu.Unlock()
	c.reply(protocol.APIKeyCreated{Tag: protocol.Tag{Type: protocol.TypeAPIKeyCreated, ReqID: tag.ReqID}, APIKeyItem: item})
	return nil
}

// mayAddKeyLocked tells why not, or returns the key if it is there already, just so.
func (m *mesh) mayAddKeyLocked(k *apiKey, now time.Time) (have *apiKey, err error) {
	if err := m.view.CheckSession(k.st, false, now); err != nil {
		return nil, err
	}
	if old := m.keys[k.body.Key]; old != nil && old.st.ID == k.st.ID && old.hash == k.hash {
		return old, nil
	}
	if m.addresses[k.body.Key] != nil {
		return nil, protocol.Refuse(protocol.CodeExists, "the key is in use already")
	}
	n, all := 0, m.memberLocked(k.body.Member).keys
	if len(all) >= keysRemembered {
		return nil, protocol.Refuse(protocol.CodeCapacity, "you made %d keys within %d days, the most that this broker remembers", len(all), int(keyMemory.Hours())/24).
			WithHint("use one key for many runs: a key a job")
	}
	for _, other := range all {
		if other.goodLocked(now) == nil {
			n++
		}
	}
	if n >= keysPerMember {
		return nil, protocol.Refuse(protocol.CodeCapacity, "%d keys of yours are in use, the most that this broker allows", n).
			WithHint("claudemesh apikey list, and revoke those that nobody uses")
	}
	return nil, nil
}

// saveKey writes a new key and lets it in.
func (m *mesh) saveKey(k *apiKey) error {
	err := m.srv.db.Commit(func(tx *store.Tx) error { return putKey(tx, m, k.body.Key, k.rowLocked()) })
	if err != nil {
		return m.srv.storeError("save API key", err)
	}
	m.mu.Lock()
	m.addKeyLocked(k)
	m.personChangedLocked(k.body.Member)
	m.mu.Unlock()
	m.srv.mu.Lock()
	m.srv.bearers[k.hash] = k
	m.srv.mu.Unlock()
	return nil
}

// bearer finds a key by the hash of its bearer: what a lookup tells by its time is told of a hash.
func (s *Server) bearer(hash [32]byte) *apiKey {
	s.mu.Lock()
	k := s.bearers[hash]
	s.mu.Unlock()
	if k == nil || subtle.ConstantTimeCompare(k.hash[:], hash[:]) != 1 {
		return nil
	}
	return k
}

// adminLocked tells whether key may administer the mesh now.
func (m *mesh) adminLocked(key crypto.PublicKey) bool {
	v, ok := m.view.Member(key)
	return key == m.view.Owner() || ok && v.Role == protocol.RoleAdmin
}

func (c *conn) handleKeyList(tag protocol.Tag, _ []byte) error {
	c.reply(protocol.APIKeys{Tag: protocol.Tag{Type: protocol.TypeAPIKeys, ReqID: tag.ReqID}, Keys: c.mesh.keyItems(c.member)})
	return nil
}

func (k *apiKey) id() string { return k.body.Key.String() }

func (k *apiKey) itemLocked() protocol.APIKeyItem {
	at, reason := k.overLocked()
	item := protocol.APIKeyItem{
		ID: k.body.Key.String(), Label: k.body.Label, Prefix: k.prefix, Capabilities: k.body.Caps, CreatedAt: timeText(k.created),
		LastUsedAt: timeOrNull(k.lastUsed), RevokedAt: timeOrNull(at), ExpiresAt: timeOrNull(k.body.Expires),
		Member: k.body.Member.String(), Reason: reason,
	}
	if len(k.body.Topics) > 0 {
		item.TopicScopes = k.body.Topics
	}
	return item
}

// timeText is how times are written: UTC, RFC 3339 with milliseconds.
func timeText(ms int64) string { return protocol.TimeOf(ms).Format("2006-01-02T15:04:05.000Z") }

func timeOrNull(ms int64) *string {
	if ms == 0 {
		return nil
	}
	s := timeText(ms)
	return &s
}

// handleKeyRevoke revokes the one key that the request names. It says revoked only of a row that it changed, or of one that
// was revoked before.
func (c *conn) handleKeyRevoke(tag protocol.Tag, frame []byte) error {
	var f protocol.APIKeyRevoke
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	if len(f.ID) < protocol.MinKeyPrefix {
		return protocol.Refuse(protocol.CodeInvalid, "a key is named by its id, or by %d or more characters of its beginning", protocol.MinKeyPrefix)
	}
	m := c.mesh
	found, already, err := m.revokeNamed(c.member, f.ID)
	if err != nil {
		return err
	}
	answer := protocol.APIKeyRevoked{Tag: protocol.Tag{Type: protocol.TypeAPIKeyRevoked, ReqID: tag.ReqID}}
	switch len(found) {
	case 0:
		answer.Status = protocol.KeyNotFound
	case 1:
		answer.Status, answer.Already = protocol.KeyRevoked, already
		answer.ID = found[0].id()
		m.mu.Lock()
		at, _ := found[0].overLocked()
		m.mu.Unlock()
		answer.RevokedAt = timeText(at)
	default:
		answer.Status = protocol.KeyNotUnique
		for _, k := range found {
			answer.Matches = append(answer.Matches, k.id())
		}
	}
	c.reply(answer)
	return nil
}

// revoke marks the key, unless it is over already. The caller holds publishing.
func (k *apiKey) revoke(reason string) (already bool, err error) {
	m := k.mesh
	m.mu.Lock()
	at, _ := k.overLocked()
	row := k.rowLocked()
	m.mu.Unlock()
	if at != 0 {
		return true, nil
	}
	row.RevokedAt, row.Reason = m.srv.now().UnixMilli(), reason
	if err := m.srv.db.Commit(func(tx *store.Tx) error { return putKey(tx, m, k.body.Key, row) }); err != nil {
		return false, m.srv.storeError("revoke API key", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k.revokedAt, k.reason = row.RevokedAt, reason
	m.personChangedLocked(k.body.Member)
	return false, nil
}

// keyUsed notes that the key was used. On disk that is exact to usedEvery.
func (m *mesh) keyUsed(k *apiKey) {
	now := m.srv.now().UnixMilli()
	m.mu.Lock()
	k.lastUsed = now
	due := now-k.savedUsed >= usedEvery.Milliseconds()
	if due {
		k.savedUsed = now
	}
	row := k.rowLocked()
	m.mu.Unlock()
	if !due {
		return
	}
	m.publishing.Lock() // a revocation may have come meanwhile, which must not be written over
	defer m.publishing.Unlock()
	m.mu.Lock()
	row = k.rowLocked()
	known := m.keys[k.body.Key] == k
	m.mu.Unlock()
	if !known {
		return
	}
	if err := m.srv.db.Commit(func(tx *store.Tx) error { return putKey(tx, m, k.body.Key, row) }); err != nil {
		m.srv.storeError("note the use of an API key", err)
	}
}

// sweepKeys forgets the keys that are over for so long that nobody asks. The caller holds publishing.
func (m *mesh) sweepKeys(now time.Time) error {
	limit := now.Add(-keyMemory).UnixMilli()
	var old []*apiKey
	m.mu.Lock()
	for _, k := range m.keys {
		at, _ := k.overLocked()
		if at != 0 && at < limit || k.body.Expires != 0 && k.body.Expires < limit {
			old = append(old, k)
		}
	}
	m.mu.Unlock()
	if len(old) == 0 {
		return nil
	}
	err := m.srv.db.Commit(func(tx *store.Tx) error {
		for _, k := range old {
			if err := tx.Delete(bucketKeys, memberKey(m.id, k.body.Key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range old {
		m.mu.Lock()
		delete(m.keys, k.body.Key)
		delete(k.member.keys, k.body.Key)
		delete(m.addresses, k.body.Key)
		m.mu.Unlock()
		m.srv.mu.Lock()
		delete(m.srv.bearers, k.hash)
		m.srv.mu.Unlock()
	}
	return nil
}
