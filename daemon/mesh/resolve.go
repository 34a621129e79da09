package mesh

import (
	"cmp"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// Target is whom a message is for.
type Target struct {
	Spec    string           // 64 hex, "*", "@group"
	key     crypto.PublicKey // direct: what it is sealed to
	Member  crypto.PublicKey // direct: who answers for the key
	name    string           // as people say it
	session string           // label, when a session is meant
}

func (t Target) Many() bool { return t.key.IsZero() }

const (
	minKeyPrefix = protocol.MinKeyHead
	nearestNames = 5 // names offered for a name that nobody has
)

// Resolve finds whom a person means. The first class with a match decides: "*", "@group", a whole key, a name,
// name/session, a session of this machine. What may be the head of a key must not mean anything else as well. Errors are
// *protocol.Error: ambiguous with the keys that match, not_found with the nearest names.
func (m *Mesh) Resolve(to string) (Target, error) {
	switch {
	case to == "":
		return Target{}, protocol.Refuse(protocol.CodeInvalid, "no recipient")
	case to == "*":
		return Target{Spec: to, name: "everybody"}, nil
	case strings.HasPrefix(to, "@"):
		if !protocol.ValidGroup(to[1:]) {
			return Target{}, protocol.Refuse(protocol.CodeInvalid, "%q is not the name of a group", to)
		}
		return Target{Spec: to, name: to}, nil
	}
	known := m.addressable()
	if key, err := crypto.ParsePublicKey(to); err == nil {
		return m.only(to, known, func(t Target) bool { return t.key == key })
	}
	name, bare, own := func(t Target) bool { return t.name == to }, m.bareName(to), m.ownSession(to)
	if protocol.LikeKey(to) {
		return m.exactly(to, known, func(t Target) bool { return strings.HasPrefix(t.Spec, to) || name(t) || bare(t) || own(t) })
	}
	for _, class := range []func(Target) bool{
		func(t Target) bool { return t.session == "" && name(t) },
		bare,
		func(t Target) bool { return t.session != "" && name(t) },
		own,
	} {
		t, err := m.only(to, known, class)
		if protocol.CodeOf(err) != protocol.CodeNotFound {
			return t, err
		}
	}
	return Target{}, m.notFound(to, known)
}

// bareName matches a name that several living members have and that is pinned to none: all of them.
func (m *Mesh) bareName(to string) func(Target) bool {
	view := m.trust.View()
	return func(t Target) bool {
		member, ok := view.Member(t.key)
		return ok && t.session == "" && member.Name == to
	}
}

func (m *Mesh) ownSession(to string) func(Target) bool {
	return func(t Target) bool {
		s, live := m.ring.Session(t.key)
		return live && t.Member == m.self && t.key != m.self && (s.Label == to || s.ID == to)
	}
}

// only returns the one target that matches, of sessions of one name the one that is there.
func (m *Mesh) only(to string, known []Target, match func(Target) bool) (Target, error) {
	if live := m.liveOnly(matching(known, match)); len(live) == 1 {
		return live[0], nil
	}
	return m.exactly(to, known, match)
}

func matching(known []Target, match func(Target) bool) (found []Target) {
	for _, t := range known {
		if match(t) {
			found = append(found, t)
		}
	}
	return found
}

// exactly returns the one target that matches.
func (m *Mesh) exactly(to string, known []Target, match func(Target) bool) (Target, error) {
	found := matching(known, match)
	switch len(found) {
	case 0:
		return Target{}, m.notFound(to, known)
	case 1:
		return found[0], nil
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "%q in %s matches %d keys", to, m.Slug(), len(found)).
		WithHint("name one of them by its key")
	for _, t := range found {
		e.Names = append(e.Names, t.name+" "+t.Spec)
	}
	return Target{}, e
}

// liveOnly narrows sessions of one name to those that are connected: a label is used again by the next session.
func (m *Mesh) liveOnly(found []Target) (live []Target) {
	for _, t := range found {
		if t.session == "" {
			return nil
		}
		if m.who.live(t.key) {
			live = append(live, t)
		}
	}
	if live == nil && len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b Target) int { return cmp.Compare(m.issued(a.key), m.issued(b.key)) })
		return []Target{newest}
	}
	return live
}

func (m *Mesh) issued(key crypto.PublicKey) int64 {
	if s := m.trust.Session(key); s != nil {
		return s.Body.(*protocol.Session).Issued
	}
	return 0
}

func (m *Mesh) notFound(to string, known []Target) *protocol.Error {
	e := protocol.Refuse(protocol.CodeNotFound, "no member or session %q in %s", to, m.Slug()).
		WithHint("claudemesh peers lists who is there")
	slices.SortFunc(known, func(a, b Target) int {
		return cmp.Or(cmp.Compare(distance(to, a.name), distance(to, b.name)), cmp.Compare(a.name, b.name))
	})
	for _, t := range known {
		if len(e.Names) < nearestNames && t.Member != m.self && !slices.Contains(e.Names, t.name) {
			e.Names = append(e.Names, t.name)
		}
	}
	return e
}

// addressable lists every key that a direct message may be sealed to: members, verified or invited, and their sessions.
func (m *Mesh) addressable() []Target {
	view := m.trust.View()
	var all []Target
	members := make(map[crypto.PublicKey]string)
	add := func(key crypto.PublicKey, name string) {
		members[key] = name
		all = append(all, Target{Spec: key.String(), key: key, Member: key, name: name})
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
			all = append(all, Target{Spec: key.String(), key: key, Member: member, name: name + "/" + label, session: label})
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

// Names are all names by which somebody can be written to, each with who goes by it.
func (m *Mesh) Names() map[string][]crypto.PublicKey {
	names := make(map[string][]crypto.PublicKey)
	for _, t := range m.addressable() {
		name, _, _ := strings.Cut(t.name, "/")
		names[name] = append(names[name], t.Member)
	}
	return names
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
