package broker

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// maxGrants is about how many peers a member may say something; what he says of more his own daemon knows.
const maxGrants = 1024

// bucketGrants holds, by mesh and member, what he lets single peers do: key → grants, JSON.
const bucketGrants = "grants"

// takesLocked reports whether p takes messages of that kind from a key, or else from its member. It saves their way: p's daemon
// refuses what p does not take, whatever a broker does.
func (p *member) takesLocked(from, of crypto.PublicKey, grant string) bool {
	if len(p.grants) == 0 {
		return true
	}
	for _, key := range []crypto.PublicKey{from, of} {
		if may, ok := p.grants[key]; ok {
			return slices.Contains(may, grant)
		}
	}
	return true
}

func errBlocked() *protocol.Error {
	return protocol.Refuse(protocol.CodeBlocked, "takes no such messages from you")
}

// handleSetGrants keeps what the member lets single peers do, in the place of what he said before.
func (c *conn) handleSetGrants(tag protocol.Tag, frame []byte) error {
	var f protocol.SetGrants
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	if !c.control {
		return protocol.Refuse(protocol.CodeForbidden, "grants are the member's, not a session's")
	}
	grants, err := parseGrants(f.Grants)
	if err != nil {
		return err
	}
	m := c.mesh
	m.publishing.Lock()
	defer m.publishing.Unlock()
	m.mu.Lock()
	same := maps.EqualFunc(c.member.grants, grants, slices.Equal)
	m.mu.Unlock()
	if !same {
		if err := m.saveGrants(c.member, grants); err != nil {
			return err
		}
	}
	c.ok(tag)
	return nil
}

func parseGrants(texts map[string][]string) (map[crypto.PublicKey][]string, error) {
	if len(texts) > maxGrants {
		return nil, protocol.Refuse(protocol.CodePayloadTooLarge, "grants about %d peers, at most %d are kept", len(texts), maxGrants)
	}
	grants := make(map[crypto.PublicKey][]string, len(texts))
	for text, may := range texts {
		key, err := crypto.ParsePublicKey(text)
		if err != nil {
			return nil, protocol.Refuse(protocol.CodeInvalid, "grants are about keys")
		}
		for _, word := range may {
			if !slices.Contains(protocol.Grants(), word) {
				return nil, protocol.Refuse(protocol.CodeInvalid, "there is no such grant")
			}
		}
		grants[key] = slices.Compact(slices.Sorted(slices.Values(may)))
	}
	return grants, nil
}

// saveGrants is called with publishing held.
func (m *mesh) saveGrants(p *member, grants map[crypto.PublicKey][]string) error {
	row := make(map[string][]string, len(grants))
	for key, may := range grants {
		row[key.String()] = may
	}
	b, err := json.Marshal(row)
	if err != nil {
		return err
	}
	err = m.srv.db.Commit(func(tx *store.Tx) error {
		if len(row) == 0 {
			return tx.Delete(bucketGrants, memberKey(m.id, p.key))
		}
		return tx.Put(bucketGrants, memberKey(m.id, p.key), b)
	})
	if err != nil {
		return m.srv.storeError("keep grants", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.grants = grants
	return nil
}

// loadGrants reads the grants of all members.
func (m *mesh) loadGrants(tx *store.Tx) error {
	for k, v := range tx.Scan(bucketGrants, []byte(m.id), nil) {
		var row map[string][]string
		if err := json.Unmarshal(v, &row); err != nil {
			return err
		}
		grants, err := parseGrants(row)
		if err != nil {
			return err
		}
		m.memberLocked(crypto.PublicKey(k[meshIDSize:])).grants = grants
	}
	return nil
}
