package api

import (
	"errors"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// ModelView decides what the model of a session reads of people, beside their messages. Of somebody
// whom nobody verified it reads nothing. A session that runs without permission prompts reads of
// others what is certified, their names, and nothing that they chose or wrote themselves (labels,
// groups, cards, reasons, answers of their memories) until the user has accepted them.
type ModelView struct {
	Bypass   bool
	Accepted map[AcceptedKey]bool
}

// AcceptedKey is a member whom the user accepted in a mesh.
type AcceptedKey struct {
	Mesh   protocol.MeshID
	Member crypto.PublicKey
}

// newModelView is the view of the session that a request speaks for; nil where a person asks.
func newModelView(d *roster.Roster, session string) (*ModelView, error) {
	acting, err := d.Acting(session)
	if err != nil || acting == nil {
		return nil, err
	}
	v := &ModelView{Accepted: make(map[AcceptedKey]bool)}
	if s, ok := d.Live.Get(acting.ID); ok {
		v.Bypass = s.Bypass
	}
	if !v.Bypass {
		return v, nil
	}
	err = d.DB.View(func(tx *store.Tx) error {
		for k := range tx.Scan(table.Accepted, nil, nil) {
			mesh, member := k[:len(k)-len(crypto.PublicKey{})], k[len(k)-len(crypto.PublicKey{}):]
			v.Accepted[AcceptedKey{protocol.MeshID(mesh), crypto.PublicKey(member)}] = true
		}
		return nil
	})
	return v, err
}

// names tells whether a member may be named.
func (v *ModelView) names(m *mesh.Mesh, member crypto.PublicKey) bool {
	return v == nil || member == m.Self() || m.Trust().View().Verified(member)
}

// quotes tells whether the words of a member may be read, too.
func (v *ModelView) quotes(m *mesh.Mesh, member crypto.PublicKey) bool {
	return v == nil || v.names(m, member) && (!v.Bypass || member == m.Self() || v.Accepted[AcceptedKey{m.ID(), member}])
}

// peers are those that may be named. Somebody whose words may not be read is there once, whatever
// sessions he has.
func (v *ModelView) peers(m *mesh.Mesh, all []protocol.PeerInfo) []protocol.PeerInfo {
	if v == nil {
		return all
	}
	shown, seen := []protocol.PeerInfo{}, make(map[crypto.PublicKey]bool)
	for _, p := range all {
		member, err := crypto.ParsePublicKey(p.MemberPubkey)
		if err != nil || !v.names(m, member) {
			continue
		}
		if v.quotes(m, member) {
			shown = append(shown, p)
			continue
		}
		if !seen[member] {
			seen[member] = true
			shown = append(shown, protocol.PeerInfo{
				Mesh: p.Mesh, Name: p.Name, Pubkey: p.MemberPubkey, MemberPubkey: p.MemberPubkey, Status: p.Status, Presence: p.Presence,
				Trust: p.Trust, InPerson: p.InPerson, Groups: []string{}, Unaccepted: true,
			})
		}
	}
	return shown
}

// members are those that may be named, and the others without their names: they are counted.
func (v *ModelView) members(m *mesh.Mesh, all []protocol.MemberInfo) []protocol.MemberInfo {
	for i := range all {
		member, err := crypto.ParsePublicKey(all[i].Pubkey)
		if err != nil || !v.names(m, member) {
			all[i] = protocol.MemberInfo{Mesh: all[i].Mesh, Pubkey: all[i].Pubkey, Trust: all[i].Trust}
		}
	}
	return all
}

// Sent is what became of a message, without the words of those who may not be quoted.
func (v *ModelView) Sent(m *mesh.Mesh, res protocol.SendResult) protocol.SendResult {
	if v == nil {
		return res
	}
	res.Recipients = slices.Clone(res.Recipients)
	for i := range res.Recipients {
		r := &res.Recipients[i]
		key, err := crypto.ParsePublicKey(r.Pubkey)
		if err != nil || v.quotes(m, m.MemberOf(key)) {
			continue
		}
		if !v.names(m, m.MemberOf(key)) {
			r.Name = key.Short()
		}
		if r.Session = ""; r.Reason != "" {
			r.Reason = "the reason is for your user: claudemesh message status " + res.ID
		}
	}
	return res
}

// Asked is what memories answered, without those whose words may not be read.
func (v *ModelView) Asked(meshes []*mesh.Mesh, got protocol.AskReply) protocol.AskReply {
	if v == nil {
		return got
	}
	silent := func(pubkey string) bool {
		member, err := crypto.ParsePublicKey(pubkey)
		return err != nil || !slices.ContainsFunc(meshes, func(m *mesh.Mesh) bool { return v.quotes(m, member) })
	}
	n := len(got.Answers) + len(got.Offers)
	got.Answers = slices.DeleteFunc(got.Answers, func(a protocol.AskAnswer) bool { return silent(a.Pubkey) })
	got.Offers = slices.DeleteFunc(got.Offers, func(o protocol.AskOffer) bool { return silent(o.Pubkey) })
	got.Held = n - len(got.Answers) - len(got.Offers)
	return got
}

// refusal is an error without the names that the model may not read.
func (v *ModelView) refusal(meshes []*mesh.Mesh, err error) error {
	e, ok := errors.AsType[*protocol.Error](err)
	if v == nil || !ok || len(e.Names) == 0 {
		return err
	}
	named, quoted := v.known(meshes)
	told := *e
	told.Names = nil
	for _, text := range e.Names {
		word, rest, _ := strings.Cut(text, " ") // bob, bob/web, each with its key behind it or not, @group, or a name of ours
		name, _, session := strings.Cut(word, "/")
		may, person := named[name]
		if person && !may || v.Bypass && strings.HasPrefix(word, "@") {
			continue
		}
		if person && session && !quoted[name] {
			text = strings.TrimSpace(name + " " + rest)
		}
		if !slices.Contains(told.Names, text) {
			told.Names = append(told.Names, text)
		}
	}
	if v.Bypass && strings.HasPrefix(told.Hint, "did you mean @") {
		told.Hint = "claudemesh group list"
	}
	return &told
}

// known tells of the names of people whether each may be read, and what goes by it, too. A name
// that somebody has who may not be read is not read of anybody.
func (v *ModelView) known(meshes []*mesh.Mesh) (named, quoted map[string]bool) {
	named, quoted = make(map[string]bool), make(map[string]bool)
	for _, m := range meshes {
		for name, people := range m.Names() {
			for _, member := range people {
				if _, known := named[name]; !known {
					named[name], quoted[name] = true, true
				}
				named[name] = named[name] && v.names(m, member)
				quoted[name] = quoted[name] && v.quotes(m, member)
			}
		}
	}
	return named, quoted
}
