package protocol

import (
	"bytes"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// ReasonUsedUp is the reason of a revoke that closes a link because it has no use left.
const ReasonUsedUp = "used up"

// MayIssue reports whether issuer may make links, or certs, of this role now: the owner of any, an admin of RoleMember.
func (v *View) MayIssue(issuer crypto.PublicKey, role string) bool {
	if issuer == v.Owner() {
		return true
	}
	_, revoked := v.revoked[issuer]
	return role == RoleMember && v.IsAdmin(issuer) && !revoked
}

// LinkClosed reports whether inv's link was closed by its issuer, by the owner, or for RoleMember by an admin.
func (v *View) LinkClosed(inv *Invite) bool {
	_, closed := v.closing(inv)
	return closed
}

// closing returns the revoke that closes inv's link. Of several the one that says most is told: that it was used up.
func (v *View) closing(inv *Invite) (told *Revoke, closed bool) {
	for _, s := range v.closed[inv.Link] {
		by, r := s.Signer(), s.Body.(*Revoke)
		if by != inv.Issuer && !v.ownerSigned(by, s.ID) && (inv.Role != RoleMember || !v.adminSigned(by, s.ID)) {
			continue
		}
		if told == nil || r.Reason == ReasonUsedUp {
			told = r
		}
	}
	return told, told != nil
}

// checkOpen returns the refusal of a closed link.
func (v *View) checkOpen(inv *Invite) error {
	switch r, closed := v.closing(inv); {
	case !closed:
		return nil
	case r.Reason == ReasonUsedUp:
		return Refuse(CodeUsedUp, "the link was already used, as often as it may be").WithHint("ask for a new link")
	case r.Reason == "":
		return Refuse(CodeClosedLink, "the link was closed").WithHint("ask for a new link")
	default:
		return Refuse(CodeClosedLink, "the link was closed: %s", r.Reason).WithHint("ask for a new link")
	}
}

// LinkOver reports whether err, of CheckInvite or Invited, says that the link admits nobody any more.
func LinkOver(err error) bool {
	switch CodeOf(err) {
	case CodeClosedLink, CodeUsedUp, CodeExpired:
		return true
	}
	return false
}

// CheckInvite reports whether the link of invite is good: of this mesh and of an owner that it has or had, signed by somebody
// who may, not closed, and not expired at now, which is the reader's own clock. Errors are *Error of CodeForeign,
// CodeForbidden, CodeClosedLink, CodeUsedUp or CodeExpired.
func (v *View) CheckInvite(invite *Statement, now time.Time) error {
	inv, ok := invite.Body.(*Invite)
	switch {
	case !ok:
		return Refuse(CodeInvalid, "a statement of kind %s is not an invite", invite.Kind)
	case inv.Mesh != v.mesh:
		return Refuse(CodeForeign, "the link is of another mesh")
	case !slices.Contains(v.owners, inv.Owner):
		return Refuse(CodeForeign, "the link names an owner that this mesh never had").WithHint("ask for a new link")
	case !v.inviteSigned(invite, inv):
		return Refuse(CodeForbidden, "the link was made by somebody who may not invite a new %s", inv.Role).
			WithHint("ask an admin of the mesh for a new link")
	case v.LinkClosed(inv):
		return v.checkOpen(inv)
	case now.Unix() >= inv.Expires:
		return Refuse(CodeExpired, "the link expired at %s", TimeOfSeconds(inv.Expires).Format(time.DateTime+" MST")).
			WithHint("ask for a new link")
	}
	return nil
}

// inviteSigned reports whether invite has the authority to give its role. What a keep list names outlives its issuer.
func (v *View) inviteSigned(invite *Statement, inv *Invite) bool {
	if v.MayIssue(inv.Issuer, inv.Role) || contains(v.kept[inv.Issuer], invite.ID) {
		return true
	}
	return inv.Role == RoleMember && !v.IsAdmin(inv.Issuer) && v.adminSigned(inv.Issuer, invite.ID)
}

// Invited returns nil when invite and enrol make enrol's key invited at now: somebody who holds a good link. Beyond the errors
// of CheckInvite there are CodeInvalid for two that do not belong together and CodeRevoked for a revoked key.
func (v *View) Invited(invite, enrol *Statement, now time.Time) error {
	e, ok := enrol.Body.(*Enrol)
	if ok {
		if err := v.checkKeys(e.Member, e.Member); err != nil { // who was removed hears that, not what became of his link
			return err
		}
	}
	if err := v.CheckInvite(invite, now); err != nil {
		return err
	}
	switch {
	case !ok:
		return Refuse(CodeInvalid, "a statement of kind %s is not an enrolment", enrol.Kind)
	case e.Mesh != v.mesh:
		return Refuse(CodeForeign, "the enrolment is of another mesh")
	case e.Link != invite.Body.(*Invite).Link:
		return Refuse(CodeInvalid, "the enrolment is with another link")
	}
	return nil
}

// CheckSession returns nil when s, a session or apikey statement, certifies its key at now, the reader's own clock. invited
// tells whether its member is invited (see Invited): the view knows only the verified. Errors are *Error of CodeInvalid,
// CodeForeign, CodeRevoked, CodeNotMember, CodeTimestamp or CodeExpired.
func (v *View) CheckSession(s *Statement, invited bool, now time.Time) error {
	var own ownKey
	switch b := s.Body.(type) {
	case *Session:
		own = ownKey{b.Member, b.Session}
	case *APIKey:
		own = ownKey{b.Member, b.Key}
	default:
		return Refuse(CodeInvalid, "a statement of kind %s certifies no session", s.Kind)
	}
	if s.mesh != v.mesh {
		return Refuse(CodeForeign, "the session is of another mesh")
	}
	if err := v.checkKeys(own.member, own.key); err != nil {
		return err
	}
	if !invited && !v.Verified(own.member) {
		return Refuse(CodeNotMember, "the session's member %s is not a member of this mesh", own.member.Short())
	}
	return s.InTime(now)
}

// InTime returns nil when now lies in the time of s, a session or apikey statement; other statements have no such time.
// Errors are *Error of CodeTimestamp or CodeExpired.
func (s *Statement) InTime(now time.Time) error {
	expires := int64(maxNumber)
	switch b := s.Body.(type) {
	case *Session:
		expires = b.Expires
	case *APIKey:
		if b.Expires != 0 {
			expires = b.Expires
		}
	}
	switch {
	case s.future(now):
		return Refuse(CodeTimestamp, "the session was signed in the future; one of the two clocks is off")
	case now.UnixMilli() > expires:
		return Refuse(CodeExpired, "the session's statement has expired")
	}
	return nil
}

// Supersedes reports whether of two session statements, or two apikey statements, of one member and key s is the one to keep:
// the one issued later, of two of one millisecond the one with the lower id. So everybody keeps the same one, whichever came
// first, and nobody can bring back an old list of groups.
func (s *Statement) Supersedes(old *Statement) bool {
	issued := func(s *Statement) (ownKey, int64) {
		switch b := s.Body.(type) {
		case *Session:
			return ownKey{b.Member, b.Session}, b.Issued
		case *APIKey:
			return ownKey{b.Member, b.Key}, b.Issued
		}
		return ownKey{}, 0
	}
	own, at := issued(s)
	ownOld, atOld := issued(old)
	if s.Kind != old.Kind || s.mesh != old.mesh || own != ownOld {
		return false
	}
	return at > atOld || at == atOld && bytes.Compare(s.ID[:], old.ID[:]) < 0
}

// SupersedesAt is Supersedes for a reader with a clock. A statement that is from the future at now gives way to one that is
// not: its signer's clock was ahead and was set back, or the reader's was. Otherwise nothing that is signed today would count
// until that time has come.
func (s *Statement) SupersedesAt(old *Statement, now time.Time) bool {
	if early, was := s.future(now), old.future(now); early != was && (s.Supersedes(old) || old.Supersedes(s)) {
		return was
	}
	return s.Supersedes(old)
}

// future reports whether s is a session or apikey statement that was issued after now, by more than clocks may differ.
func (s *Statement) future(now time.Time) bool {
	limit := now.Add(ClockSkew).UnixMilli()
	switch b := s.Body.(type) {
	case *Session:
		return b.Issued > limit
	case *APIKey:
		return b.Issued > limit
	}
	return false
}

func (v *View) checkKeys(member, key crypto.PublicKey) error {
	r, revoked := v.RevokedOf(member, key)
	switch {
	case !revoked:
		return nil
	case r.Reason == "":
		return Refuse(CodeRevoked, "the key %s is revoked", key.Short())
	}
	return Refuse(CodeRevoked, "the key %s is revoked: %s", key.Short(), r.Reason)
}
