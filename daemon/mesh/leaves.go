package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/wallclock"
)

// What a member says of his own keys (he leaves, a session's key was stolen) is known only to those who saw it: no digest of a
// log tells of it, so a broker may keep it from whom it likes. An admin's daemon repeats it into the log. For an admin who
// leaves the owner's daemon does: nobody else may.

// reasonLeft is the reason of a revoke by which somebody left, his own or one that repeats it.
const reasonLeft = "left"

const (
	maxKeep        = 1900      // ids in a revoke: two thousand fill a statement
	maxRepeated    = 64        // own keys of one member that admins repeat: he can make as many as he likes
	ownerElsewhere = time.Hour // how long the owner's daemon has before the other admins are told
)

// repeatLeaves puts into the log what members revoked of their own.
func (m *Mesh) repeatLeaves() error {
	view := m.trust.View()
	if err := m.repeatAdminLeaves(view); err != nil {
		return err
	}
	if !view.MayIssue(m.self, protocol.RoleMember) {
		return nil
	}
	gone := m.takenBack(view)
	for _, s := range view.Statements() {
		cert, ok := s.Body.(*protocol.Cert)
		if !ok || view.IsAdmin(cert.Member) || cert.Member == m.self || slices.Contains(gone, cert.Member) {
			continue
		}
		if r, left := view.Revoked(cert.Member); left && r.Own {
			gone = append(gone, cert.Member)
		}
	}
	var repeated []*protocol.Statement
	for _, key := range gone {
		s, err := m.signLeave(m.key, key, nil)
		if err != nil {
			return fmt.Errorf("repeat that a member left: %w", err)
		}
		repeated = append(repeated, s)
	}
	return m.learnStatements(repeated)
}

// takenBack lists the session and API keys that verified members revoked and no log tells of yet.
func (m *Mesh) takenBack(view *protocol.View) (keys []crypto.PublicKey) {
	repeated := make(map[crypto.PublicKey]int)
	var own []trust.CertifiedKey
	for _, k := range m.trust.CertifiedKeys() {
		if k.Key == k.Member || !view.Verified(k.Member) {
			continue
		}
		if _, logged := view.Revoked(k.Key); logged {
			repeated[k.Member]++
		} else if r, gone := view.RevokedOf(k.Member, k.Key); gone && r.By == k.Member {
			own = append(own, k)
		}
	}
	for _, k := range own {
		if repeated[k.Member]++; repeated[k.Member] <= maxRepeated {
			keys = append(keys, k.Key)
		}
	}
	return keys
}

// leavers are the admins who left and of whom no log tells yet, by key, with what they were called.
func leavers(view *protocol.View) map[crypto.PublicKey]string {
	all := make(map[crypto.PublicKey]string)
	for _, s := range view.Log() {
		if cert, ok := s.Body.(*protocol.Cert); ok && view.IsAdmin(cert.Member) {
			if r, left := view.Revoked(cert.Member); left && r.Own {
				all[cert.Member] = cert.Name
			}
		}
	}
	return all
}

// repeatAdminLeaves has the owner key, where it lies open on this machine, revoke admins who left. Where it lies under a
// passphrase, or elsewhere, people are asked to.
func (m *Mesh) repeatAdminLeaves(view *protocol.View) error {
	for key, name := range leavers(view) {
		owner, err := m.env.OwnerKey(m.meshID, view.Owner())
		elsewhere := errors.Is(err, fs.ErrNotExist)
		switch {
		case elsewhere && !view.IsAdmin(m.self), key == m.self:
			continue
		case err != nil && !elsewhere:
			return err
		case elsewhere || owner.Key == nil:
			m.askForOwner(view, key, name, elsewhere)
			continue
		}
		if err := m.revokeLeaver(view, key, owner.Key); err != nil {
			return err
		}
	}
	return nil
}

// revokeLeaver removes an admin who left. What he signed before stays: what is in force here, and what his leave itself names,
// should the broker have kept that from us. What is signed with his key from now on is void.
func (m *Mesh) revokeLeaver(view *protocol.View, key crypto.PublicKey, owner *crypto.PrivateKey) error {
	keep := signedBy(view, key)
	r, _ := view.Revoked(key)
	if leave := m.trust.Statement(r.ID); leave != nil {
		keep = append(keep, leave.Body.(*protocol.Revoke).Keep...)
	}
	s, err := m.signLeave(owner, key, keep)
	if err != nil {
		return fmt.Errorf("repeat that an admin left: %w", err)
	}
	return m.learnStatements([]*protocol.Statement{s})
}

func (m *Mesh) signLeave(by *crypto.PrivateKey, key crypto.PublicKey, keep []protocol.ID) (*protocol.Statement, error) {
	return protocol.Sign(&protocol.Revoke{
		Mesh: m.meshID, Issuer: by.Public(), Kind: protocol.RevokeKey, Target: key, Keep: keepList(keep), At: m.env.now().Unix(), Reason: reasonLeft,
	}, by)
}

// farewell is the statement by which we leave. It names what we signed as an admin, for the owner to keep. An admin who has the
// owner key open here signs with that: nobody else's daemon will.
func (m *Mesh) farewell() (*protocol.Statement, error) {
	view := m.trust.View()
	keep := signedBy(view, m.self)
	if view.IsAdmin(m.self) {
		if owner, err := m.env.OwnerKey(m.meshID, view.Owner()); err == nil && owner.Key != nil {
			return m.signLeave(owner.Key, m.self, keep)
		}
	}
	return m.signLeave(m.key, m.self, keep)
}

// askForOwner tells once in a daemon's life what only the owner key can do.
func (m *Mesh) askForOwner(view *protocol.View, key crypto.PublicKey, name string, elsewhere bool) {
	r, _ := view.Revoked(key)
	if elsewhere && wallclock.Recent(protocol.TimeOfSeconds(r.At), m.env.now(), ownerElsewhere) {
		return
	}
	m.mu.Lock()
	again := m.asked[key]
	m.asked[key] = true
	m.mu.Unlock()
	if again {
		return
	}
	where := "the owner key is under a passphrase here"
	if elsewhere {
		where = "the owner key is not on this machine"
	}
	m.notice(fmt.Sprintf("%s, an admin of %s, left, and %s: remove the key for good with claudemesh peer ban %s", name, m.Slug(), where, key.Short()))
}

// signedBy lists what a key signed and is in force, without its own leave.
func signedBy(view *protocol.View, key crypto.PublicKey) (ids []protocol.ID) {
	for _, s := range view.Signed(key) {
		if r, ok := s.Body.(*protocol.Revoke); !ok || r.Target != key {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// keepList puts ids into the form of a statement. What does not fit is left out: the highest, as good a choice as any.
func keepList(ids []protocol.ID) []protocol.ID {
	slices.SortFunc(ids, func(a, b protocol.ID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	return ids[:min(len(ids), maxKeep)]
}
