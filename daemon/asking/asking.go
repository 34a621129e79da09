// Package asking lets the engine of questions (package ask) use this daemon: it sends through the
// meshes and reads the memory of this machine.
package asking

import (
	"context"
	"os"
	"os/user"
	"strings"

	"github.com/claudemesh/claudemesh/ask"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/memory"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall"
)

// Host is the daemon as the engine of questions sees it. It implements ask.Host.
type Host struct {
	d     *roster.Roster
	keep  *memory.Keeper
	paths *strings.Replacer // takes this user's home out of what leaves
}

// New is the host of this machine's engine.
func New(r *roster.Roster, keep *memory.Keeper) Host {
	return Host{d: r, keep: keep, paths: pathRedactor()}
}

// Send implements ask.Host.
func (h Host) Send(_ context.Context, mesh, to, kind, replyTo, session string, body []byte) (string, []ask.Person, error) {
	m, err := h.d.Mesh(mesh)
	if err != nil {
		return "", nil, err
	}
	var from *crypto.PrivateKey // nil: the member
	if session != "" {
		acting, err := h.d.Acting(session)
		if err != nil && kind == ask.KindAsk {
			return "", nil, err
		}
		if err == nil && acting != nil { // a session that ended meanwhile fetches as the member
			from = acting.Key
		}
	}
	res, err := m.SendMemory(to, kind, replyTo, from, body)
	if protocol.CodeOf(err) == protocol.CodeNotFound && to == "*" {
		return "", nil, nil // nobody else is in the mesh
	}
	if err != nil {
		return "", nil, err
	}
	people := make([]ask.Person, 0, len(res.Recipients))
	for _, r := range res.Recipients {
		people = append(people, ask.Person{Key: r.Pubkey, Name: r.Name, Online: r.Online})
	}
	return res.ID, people, nil
}

// Asker implements ask.Host.
func (h Host) Asker(mesh, member string) (ask.Asker, bool) {
	m, err := h.d.Mesh(mesh)
	if err != nil {
		return ask.Asker{}, false
	}
	key, err := crypto.ParsePublicKey(member)
	if err != nil || !m.MayAsk(key) {
		return ask.Asker{}, false
	}
	return ask.Asker{Key: member, Name: m.CallName(key)}, true
}

// Notice implements ask.Host.
func (h Host) Notice(mesh, text string) {
	slug := mesh
	if m, err := h.d.Mesh(mesh); err == nil {
		slug = m.Slug()
	}
	h.d.Hub.Emit(protocol.Event{Type: inbox.EventNotice, Mesh: slug, Notice: text}, inbox.EventOptions{})
}

// Search implements ask.Host.
func (h Host) Search(ctx context.Context, q recall.Query) ([]recall.Hit, error) {
	m, err := h.keep.Memory()
	if err != nil {
		return nil, err
	}
	return m.Search(ctx, q)
}

// Episode implements ask.Host.
func (h Host) Episode(ctx context.Context, id int64) (recall.Hit, bool, error) {
	m, err := h.keep.Memory()
	if err != nil {
		return recall.Hit{}, false, err
	}
	return m.Get(ctx, id)
}

// Redact implements ask.Host. Besides secrets it takes the home directory and the user's name out of
// paths. Without a memory nothing leaves.
func (h Host) Redact(text string) string {
	m, err := h.keep.Memory()
	if err != nil {
		return ""
	}
	text, _ = m.Redact(text)
	return h.paths.Replace(text)
}

// pathRedactor replaces the home directory by "~" and homes of this user elsewhere likewise.
func pathRedactor() *strings.Replacer {
	var pairs []string
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		pairs = append(pairs, home, "~", strings.ReplaceAll(home, "/", "-"), "-~")
	}
	if u, err := user.Current(); err == nil && u.Username != "" && u.Username != "root" {
		pairs = append(pairs, "/home/"+u.Username, "~", "/Users/"+u.Username, "~", `C:\Users\`+u.Username, "~")
	}
	return strings.NewReplacer(pairs...)
}
