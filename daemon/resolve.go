package daemon

import (
	"cmp"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// target is whom a message is for.
type target struct {
	spec    string           // 64 hex, "*", "@group"
	key     crypto.PublicKey // direct: what it is sealed to
	member  crypto.PublicKey // direct: who answers for the key
	name    string           // as people say it
	session string           // label, when a session is meant
}

func (t target) many() bool { return t.key.IsZero() }

const (
	minKeyPrefix = protocol.MinKeyHead
	nearestNames = 5 // names offered for a name that nobody has
)

// resolve finds whom a person means. The first class with a match decides: "*", "@group", a whole key, a name,
// name/session, a session of this machine. What may be the head of a key must not mean anything else as well. Errors are
// *protocol.Error: ambiguous with the keys that match, not_found with the nearest names.
func (m *mesh) resolve(to string) (target, error) {
	switch {
	case to == "":
		return target{}, protocol.Refuse(protocol.CodeInvalid, "no recipient")
	case to == "*":
		return target{spec: to, name: "everybody"}, nil
	case strings.HasPrefix(to, "@"):
		if !protocol.ValidGroup(to[1:]) {
			return target{}, protocol.Refuse(protocol.CodeInvalid, "%q is not the name of a group", to)
		}
		return target{spec: to, name: to}, nil
	}
	known := m.addressable()
	if key, err := crypto.ParsePublicKey(to); err == nil {
		return m.only(to, known, func(t target) bool { return t.key == key })
	}
	name, bare, own := func(t target) bool { return t.name == to }, m.bareName(to), m.ownSession(to)
	if protocol.LikeKey(to) {
		return m.exactly(to, known, func(t target) bool { return strings.HasPrefix(t.spec, to) || name(t) || bare(t) || own(t) })
	}
	for _, class := range []func(target) bool{
		func(t target) bool { return t.session == "" && name(t) },
		bare,
		func(t target) bool { return t.session != "" && name(t) },
		own,
	} {
		t, err := m.only(to, known, class)
		if protocol.CodeOf(err) != protocol.CodeNotFound {
			return t, err
		}
	}
	return target{}, m.notFound(to, known)
}

// bareName matches a name that several living members have and that is pinned to none: all of them.
func (m *mesh) bareName(to string) func(target) bool {
	view := m.trust.View()
	return func(t target) bool {
		member, ok := view.Member(t.key)
		return ok && t.session == "" && member.Name == to
	}
}

func (m *mesh) ownSession(to string) func(target) bool {
	return func(t target) bool {
		s, live := m.ring.Session(t.key)
		return live && t.member == m.self && t.key != m.self && (s.Label == to || s.ID == to)
	}
}

// only returns the one target that matches, of sessions of one name the one that is there.
func (m *mesh) only(to string, known []target, match func(target) bool) (target, error) {
	if live := m.liveOnly(matching(known, match)); len(live) == 1 {
		return live[0], nil
	}
	return m.exactly(to, known, match)
}

func matching(known []target, match func(target) bool) (found []target) {
	for _, t := range known {
		if match(t) {
			found = append(found, t)
		}
	}
	return found
}

// exactly returns the one target that matches.
func (m *mesh) exactly(to string, known []target, match func(target) bool) (target, error) {
	found := matching(known, match)
	switch len(found) {
	case 0:
		return target{}, m.notFound(to, known)
	case 1:
		return found[0], nil
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "%q in %s matches %d keys", to, m.slug(), len(found)).
		WithHint("name one of them by its key")
	for _, t := range found {
		e.Names = append(e.Names, t.name+" "+t.spec)
	}
	return target{}, e
}

// liveOnly narrows sessions of one name to those that are connected: a label is used again by the next session.
func (m *mesh) liveOnly(found []target) (live []target) {
	for _, t := range found {
		if t.session == "" {
			return nil
		}
		if m.who.live(t.key) {
			live = append(live, t)
		}
	}
	if live == nil && len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b target) int { return cmp.Compare(m.issued(a.key), m.issued(b.key)) })
		return []target{newest}
	}
	return live
}

func (m *mesh) issued(key crypto.PublicKey) int64 {
	if s := m.trust.Session(key); s != nil {
		return s.Body.(*protocol.Session).Issued
	}
	return 0
}

func (m *mesh) notFound(to string, known []target) *protocol.Error {
	e := protocol.Refuse(protocol.CodeNotFound, "no member or session %q in %s", to, m.slug()).
		WithHint("claudemesh peers lists who is there")
	slices.SortFunc(known, func(a, b target) int {
		return cmp.Or(cmp.Compare(distance(to, a.name), distance(to, b.name)), cmp.Compare(a.name, b.name))
	})
	for _, t := range known {
		if len(e.Names) < nearestNames && t.member != m.self && !slices.Contains(e.Names, t.name) {
			e.Names = append(e.Names, t.name)
		}
	}
	return e
}

// addressable lists every key that a direct message may be sealed to: members, verified or invited, and their sessions.
func (m *mesh) addressable() []target {
	view := m.trust.View()
	var all []target
	members := make(map[crypto.PublicKey]string)
	add := func(key crypto.PublicKey, name string) {
		members[key] = name
		all = append(all, target{spec: key.String(), key: key, member: key, name: name})
	}
	for _, member := range view.Members() {
		add(member.Key, m.trust.Name(member.Key))
	}
	for key := range m.trust.Enrolments() {
		_, known := members[key]
		if !known && m.trust.IsInvited(key) {
			add(key, m.trust.Name(key))
		}
	}
	seen := make(map[crypto.PublicKey]bool)
	session := func(key, member crypto.PublicKey, label string) {
		name, ok := members[member]
		_, revoked := view.Revoked(key)
		if ok && !revoked && key != member && !seen[key] {
			seen[key] = true
			all = append(all, target{spec: key.String(), key: key, member: member, name: name + "/" + label, session: label})
		}
	}
	for _, s := range m.ring.Sessions(true) {
		session(s.Public(), m.self, s.Label)
	}
	for _, s := range m.trust.Sessions() {
		session(s.Session, s.Member, s.Label)
	}
	for _, k := range m.trust.LiveAPIKeys() {
		session(k.Key, k.Member, k.Label)
	}
	return all
}

// distance is the number of letters to change, add or leave out between two names (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
