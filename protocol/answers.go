package protocol

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
)

// Mesh returns the id of the mesh.
func (v *View) Mesh() MeshID { return v.mesh }

// Charter returns the charter.
func (v *View) Charter() *Statement { return v.charter }

// Owner returns the key that owns the mesh.
func (v *View) Owner() crypto.PublicKey { return v.owners[len(v.owners)-1] }

// Owners returns all keys that ever owned the mesh, the present one last.
func (v *View) Owners() []crypto.PublicKey { return slices.Clone(v.owners) }

// Recovery returns the key that may replace the owner whatever the owner signs; zero when there is none.
func (v *View) Recovery() crypto.PublicKey { return v.recovery }

// N returns the number of hand-overs so far. The next owner statement bears N+1.
func (v *View) N() uint64 { return uint64(len(v.chain)) }

// IsAdmin reports whether what key signs has an admin's authority. An admin who left keeps it until the owner removes him, so
// that what he signed stays: ask MayIssue or Member about anything that a key wants to do now.
func (v *View) IsAdmin(key crypto.PublicKey) bool {
	_, removed := v.removed[key]
	return v.appointed[key] && !removed
}

// Member returns what is known of a verified member.
func (v *View) Member(key crypto.PublicKey) (Member, bool) {
	if !v.Verified(key) {
		return Member{}, false
	}
	return v.certified[key].Member, true
}

func compareMembers(a, b Member) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), bytes.Compare(a.Key[:], b.Key[:]))
}

// Members returns the verified members by name, and those of one name by key.
func (v *View) Members() []Member {
	members := make([]Member, len(v.members))
	for i, c := range v.members {
		members[i] = c.Member
	}
	return members
}

// WasMember returns what key was certified as, also when it is revoked since.
func (v *View) WasMember(key crypto.PublicKey) (Member, bool) {
	if c := v.certified[key]; c != nil {
		return c.Member, true
	}
	return Member{}, false
}

// Removed returns who was a member and is revoked, by name and key. Who was never certified is not among them.
func (v *View) Removed() []Member {
	var removed []Member
	for key, c := range v.certified {
		if _, revoked := v.revoked[key]; revoked {
			removed = append(removed, c.Member)
		}
	}
	slices.SortFunc(removed, compareMembers)
	return removed
}

// Verified reports whether a chain of signatures from the owner makes key a member, and nothing revokes it.
func (v *View) Verified(key crypto.PublicKey) bool {
	_, revoked := v.revoked[key]
	return v.certified[key] != nil && !revoked
}

// Revoked reports whether key is revoked, and why. For a session or API key ask RevokedOf, which needs no statement of it in
// the set.
func (v *View) Revoked(key crypto.PublicKey) (Revocation, bool) {
	r, ok := v.revoked[key]
	return r, ok
}

// RevokedOf reports whether key, which a session or apikey statement certifies for member, is revoked: by itself, by its
// member, or with its member.
func (v *View) RevokedOf(member, key crypto.PublicKey) (Revocation, bool) {
	if r, ok := v.revoked[member]; ok {
		return r, true
	}
	if r, ok := v.revoked[key]; ok {
		return r, true
	}
	if key == v.Owner() {
		return Revocation{}, false
	}
	r, ok := v.disowned[ownKey{member, key}]
	return r, ok
}

// InForce reports whether the statement with this id is in the set and counts.
func (v *View) InForce(id ID) bool {
	_, found := slices.BinarySearchFunc(v.inForce, id, func(s *Statement, id ID) int { return bytes.Compare(s.ID[:], id[:]) })
	return found
}

// Statements returns what is in force, in ascending order of ids: what to send to somebody whose digest differs.
func (v *View) Statements() []*Statement { return slices.Clone(v.inForce) }

// Signed returns what is in force and signed by key: what to choose from for the keep list when key is to go.
func (v *View) Signed(key crypto.PublicKey) []*Statement {
	var signed []*Statement
	for _, s := range v.inForce {
		if s.Signer() == key {
			signed = append(signed, s)
		}
	}
	return signed
}

// Log returns the owner, admin cert and revoke statements in force, in ascending order of ids.
func (v *View) Log() []*Statement { return slices.Clone(v.log) }

// Digest returns BLAKE2b-256(block("log", ids of Log)). Two members with one digest agree on owner, admins and revocations.
func (v *View) Digest() [32]byte { return v.digest }
