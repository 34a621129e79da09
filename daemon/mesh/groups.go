package mesh

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/protocol"
)

// Groups lists the groups of a mesh, with the verified members who are in them by any session. Self is about acting or,
// with nil, the member.
func (m *Mesh) Groups(acting *keyring.Session) []protocol.GroupInfo {
	found := make(map[string]*protocol.GroupInfo)
	group := func(name string) *protocol.GroupInfo {
		if found[name] == nil {
			found[name] = &protocol.GroupInfo{Mesh: m.Slug(), Group: name, Members: []protocol.GroupMember{}}
		}
		return found[name]
	}
	for member, names := range m.groupsByMember() {
		for _, name := range names {
			g := group(name)
			g.Members = append(g.Members, protocol.GroupMember{
				Name: m.trust.Name(member), Pubkey: member.String(), Online: m.who.reach(member, member).online(), Self: member == m.self,
			})
		}
	}
	for _, name := range m.actingGroups(acting) {
		group(name).Self = true
	}
	all := []protocol.GroupInfo{}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		g := found[name]
		slices.SortFunc(g.Members, func(a, b protocol.GroupMember) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Pubkey, b.Pubkey))
		})
		all = append(all, *g)
	}
	return all
}

// groupsByMember lists, for each verified member, the groups that a session of his or he himself is in.
func (m *Mesh) groupsByMember() map[crypto.PublicKey][]string {
	view, groups := m.trust.View(), make(map[crypto.PublicKey][]string)
	for _, s := range m.trust.Sessions() {
		if s.Member != m.self && view.Verified(s.Member) {
			groups[s.Member] = append(groups[s.Member], s.Groups...)
		}
	}
	groups[m.self] = m.GroupsOf(m.self)
	for _, s := range m.ring.Sessions(true) {
		groups[m.self] = append(groups[m.self], s.Groups...)
	}
	for member, names := range groups {
		slices.Sort(names)
		groups[member] = slices.Compact(names)
	}
	return groups
}

// actingGroups are the groups that a session is in, by itself or with its member; with nil those of the member.
func (m *Mesh) actingGroups(acting *keyring.Session) []string {
	key := m.self
	if acting != nil {
		key = acting.Public()
	}
	groups := m.GroupsOf(key)
	slices.Sort(groups)
	return slices.Compact(groups)
}

// noSuchGroup refuses a message to a group that has nobody in it but the sender, and names the groups that there are.
func (m *Mesh) noSuchGroup(spec string) *protocol.Error {
	var names []string
	for _, groups := range m.groupsByMember() {
		for _, g := range groups {
			if "@"+g != spec {
				names = append(names, "@"+g)
			}
		}
	}
	return nearestGroups(protocol.Refuse(protocol.CodeNotFound, "nobody but you in %s of %s", spec, m.Slug()), spec, names)
}

// nearestGroups adds the groups that could have been meant, the nearest first.
func nearestGroups(e *protocol.Error, spec string, names []string) *protocol.Error {
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(spec, a), distance(spec, b)), cmp.Compare(a, b))
	})
	names = slices.Compact(names)
	e.Names = names[:min(len(names), nearestNames)]
	if len(names) > 0 && distance(spec, names[0]) <= max(1, len(spec)/3) {
		return e.WithHint("did you mean %s?", names[0])
	}
	return e.WithHint("claudemesh group list")
}

// CheckLeave refuses to leave groups that acting, or with nil the member, is in on none of the meshes: a slip must not look
// like success.
func CheckLeave(meshes []*Mesh, leave []string, acting *keyring.Session) error {
	var own, members []string
	for _, m := range meshes {
		members = append(members, m.actingGroups(nil)...)
		if s := m.LocalSession(acting); s != nil {
			own = append(own, s.Groups...)
		}
	}
	var not []string
	for _, g := range leave {
		switch {
		case slices.Contains(own, g):
		case slices.Contains(members, g):
			return protocol.Refuse(protocol.CodeNotFound, "this session is in @%s only with all of the member's", g).
				WithHint("claudemesh group leave %s, outside of a session", g)
		default:
			not = append(not, "@"+g)
		}
	}
	if len(not) == 0 {
		return nil
	}
	var names []string
	for _, g := range own {
		names = append(names, "@"+g)
	}
	return nearestGroups(protocol.Refuse(protocol.CodeNotFound, "you are not in %s", strings.Join(not, ", ")), not[0], names)
}

// LocalSession is a session, or with nil the member, as this mesh has it; nil where it is not on the mesh.
func (m *Mesh) LocalSession(acting *keyring.Session) *keyring.Session {
	key := m.self
	if acting != nil {
		key = acting.Public()
	}
	s, _ := m.ring.Session(key)
	return s
}

// GroupsOf are the groups that a session of this machine is in, by itself or with its member.
func (m *Mesh) GroupsOf(session crypto.PublicKey) (groups []string) {
	for _, key := range []crypto.PublicKey{session, m.self} {
		if own, _ := m.ring.Session(key); own != nil {
			groups = append(groups, own.Groups...)
		}
	}
	return groups
}
