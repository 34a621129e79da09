package broker

import (
	"encoding/json"
	"net/http"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// legacyJoin is the body of POST /join from original clients.
type legacyJoin struct {
	Token   string                 `json:"invite_token"`
	Payload *protocol.LegacyInvite `json:"invite_payload"`
	Key     string                 `json:"peer_pubkey"`
	Name    string                 `json:"display_name"`
}

// legacyJoined answers it.
type legacyJoined struct {
	OK       bool   `json:"ok"`
	MemberID string `json:"memberId,omitempty"`
	Already  bool   `json:"alreadyMember,omitempty"`
	Error    string `json:"error,omitempty"`
}

// joinRefusal is why a v1 link does not admit somebody, in the original's words.
type joinRefusal string

func (r joinRefusal) Error() string { return string(r) }

// handleLegacyJoin takes in who holds a v1 link.
func (s *Server) handleLegacyJoin(j *legacyJoin) (int, any, error) {
	id, already, err := s.joinLegacy(j)
	if why, ok := err.(joinRefusal); ok {
		s.metrics.refusals.WithLabelValues(string(protocol.CodeInvalid)).Inc()
		return http.StatusBadRequest, legacyJoined{Error: string(why)}, nil
	}
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, legacyJoined{OK: true, MemberID: id, Already: already}, nil
}

// joinLegacy makes the checks in the original's order.
func (s *Server) joinLegacy(j *legacyJoin) (id string, already bool, err error) {
	if j.Token == "" || j.Payload == nil || j.Key == "" || j.Name == "" {
		return "", false, joinRefusal("invite_token, invite_payload, peer_pubkey and display_name are required")
	}
	key, err := crypto.ParsePublicKey(j.Key)
	if err != nil || !key.Valid() {
		return "", false, joinRefusal("peer_pubkey must be 64 lower-case hex digits of an ed25519 key")
	}
	if !j.Payload.Verify() {
		return "", false, joinRefusal("invite_bad_signature")
	}
	m := s.mesh(protocol.MeshID(j.Payload.MeshID))
	if m == nil {
		return "", false, joinRefusal("mesh_not_found")
	}
	m.publishing.Lock() // one enrolment at a time: uses are counted
	defer m.publishing.Unlock()
	m.mu.Lock()
	already, err = m.mayJoinLegacyLocked(j, key)
	m.mu.Unlock()
	if err != nil {
		return "", false, err
	}
	already, err = m.useV1Link(j, key, already)
	return protocol.MemberID(m.id, key), already, err
}

// mayJoinLegacyLocked tells why a key may not come by a v1 link, or that it came before.
func (m *mesh) mayJoinLegacyLocked(j *legacyJoin, key crypto.PublicKey) (already bool, err error) {
	if !m.view.Legacy() {
		return false, joinRefusal("legacy_off")
	}
	if j.Payload.Owner != m.view.Owner().String() || j.Payload.Role != protocol.RoleMember {
		return false, joinRefusal("invite_owner_mismatch")
	}
	if _, gone := m.view.RevokedOf(key, key); gone {
		return false, joinRefusal("invite_revoked")
	}
	p := m.members[key]
	if m.view.Verified(key) || p != nil && p.enrol != nil || key == m.view.Owner() {
		return false, joinRefusal("member_insert_failed")
	}
	if a := m.addresses[key]; a != nil && a.member.key != key {
		return false, joinRefusal("member_insert_failed")
	}
	return p != nil && p.original != nil, nil
}

// useV1Link counts a use of the link and enters the member, unless he is one.
func (m *mesh) useV1Link(j *legacyJoin, key crypto.PublicKey, already bool) (bool, error) {
	id, now := protocol.V1LinkID(j.Token), m.srv.now()
	o := &original{Name: plainWord(j.Name, maxLegacyWord), Link: id, Joined: now.UnixMilli(), slots: make(map[string]*slot)}
	row, err := json.Marshal(o)
	if err != nil {
		return false, err
	}
	err = m.srv.db.Commit(func(tx *store.Tx) error {
		l, err := readV1Link(tx, id)
		switch {
		case err != nil:
			return err
		case l == nil:
			return joinRefusal("invite_not_found")
		case l.Mesh != m.id:
			return joinRefusal("invite_mesh_mismatch")
		case l.Closed:
			return joinRefusal("invite_revoked")
		case l.Expires <= now.Unix():
			return joinRefusal("invite_expired")
		case already:
			return nil
		case l.Used >= l.Uses:
			return joinRefusal("invite_exhausted")
		}
		l.Used++
		if err := putV1Link(tx, id, l); err != nil {
			return err
		}
		return tx.Put(bucketOriginals, memberKey(m.id, key), row)
	})
	if _, refused := err.(joinRefusal); refused {
		return false, err
	}
	if err != nil {
		return false, m.srv.storeError("save an original member", err)
	}
	if already {
		return true, nil
	}
	m.mu.Lock()
	m.memberLocked(key).original = o
	m.personChangedLocked(key)
	m.mu.Unlock()
	m.note(auditEnrolled, key, auditDetail{Key: id, Label: o.Name})
	m.srv.log.Info("enrolled an original client", "mesh", m.id, "member", key.Short(), "link", id[:8])
	return false, nil
}

// legacyHook is the body of POST /hook/set-status.
type legacyHook struct {
	Cwd    string `json:"cwd"`
	PID    int    `json:"pid"`
	Status string `json:"status"`
}

// handleLegacyHook sets the status of the one original session that the hook of a Claude Code on this machine speaks of. The
// request has no credentials, so it is taken from loopback alone, and where several would fit, of none.
func (s *Server) handleLegacyHook(r *http.Request) (int, any, error) {
	if !isLoopback(s.clientAddr(r)) {
		return 0, nil, protocol.Refuse(protocol.CodeForbidden, "a hook speaks from the broker's own machine only")
	}
	var h legacyHook
	if err := readBody(r, &h); err != nil {
		return 0, nil, err
	}
	switch {
	case h.Cwd == "" || h.Status == "":
		return http.StatusOK, map[string]any{"ok": false, "error": "cwd and status required"}, nil
	case statusOr(h.Status) != h.Status:
		return 0, nil, protocol.Refuse(protocol.CodeInvalid, "status is idle, working or dnd")
	}
	m, slot := s.hookSlot(&h)
	id := ""
	if slot != nil {
		id = slot.id
	}
	switch {
	case !s.hooks.allow(id): // those that fit no session are counted together
		return http.StatusTooManyRequests, map[string]any{"ok": false, "error": "rate limited"}, nil
	case slot == nil:
		return http.StatusOK, map[string]any{"ok": true, "pending": true}, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slot.item.Status != protocol.StatusDND { // set by hand
		slot.setStatus(h.Status)
		m.legacyShownLocked(slot.member, slot.key)
	}
	return http.StatusOK, map[string]any{"ok": true, "presence_id": id}, nil
}

// hooksPerMinute is how many hooks of one session are answered, as the original has it.
const hooksPerMinute = 30

// hookSlot finds the one slot of that directory and process, else the one of that directory; nil when there is none, or several.
func (s *Server) hookSlot(h *legacyHook) (*mesh, *slot) {
	type match struct {
		m *mesh
		s *slot
	}
	for _, fits := range []func(*slot) bool{
		func(s *slot) bool { return s.item.Cwd == h.Cwd && s.pid == h.PID },
		func(s *slot) bool { return s.item.Cwd == h.Cwd },
	} {
		var found []match
		for _, m := range s.allMeshes() {
			m.mu.Lock()
			for _, p := range m.members {
				if p.original == nil {
					continue
				}
				for _, slot := range p.original.slots {
					if slot.conn != nil && slot.kind != legacyCommand && fits(slot) {
						found = append(found, match{m, slot})
					}
				}
			}
			m.mu.Unlock()
		}
		if len(found) == 1 {
			return found[0].m, found[0].s
		}
	}
	return nil, nil
}
