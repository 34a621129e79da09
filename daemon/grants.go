package daemon

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// grants is what this user lets single peers do. Who is not in it may do everything; what is not allowed is refused here, before
// it is stored, whatever the broker passes on.
type grants struct {
	telling sync.Mutex // held while the broker is told, so that it hears the latest last

	db   *store.DB
	mesh protocol.MeshID

	mu  sync.Mutex
	may map[crypto.PublicKey][]string // of a member, or of one of his sessions or API keys
}

func loadGrants(db *store.DB, mesh protocol.MeshID) (*grants, error) {
	g := &grants{db: db, mesh: mesh, may: make(map[crypto.PublicKey][]string)}
	err := db.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Pins, table.Key(mesh, []byte{'g'}), nil) {
			var may []string
			if err := json.Unmarshal(v, &may); err != nil {
				return fmt.Errorf("stored grant: %w", err)
			}
			g.may[crypto.PublicKey(k[len(mesh)+1:])] = may
		}
		return nil
	})
	return g, err
}

// allows reports whether a message of this kind from that key, or else from its member, is taken.
func (g *grants) allows(from, member crypto.PublicKey, group bool) bool {
	grant := protocol.GrantDirect
	if group {
		grant = protocol.GrantGroup
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, key := range []crypto.PublicKey{from, member} {
		if may, ok := g.may[key]; ok {
			return slices.Contains(may, grant)
		}
	}
	return true
}

// of returns what a key may.
func (g *grants) of(key crypto.PublicKey) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if may, ok := g.may[key]; ok {
		return slices.Clone(may)
	}
	return protocol.Grants()
}

// set keeps what a key may. All of it is the same as never having said anything.
func (g *grants) set(key crypto.PublicKey, may []string) error {
	slices.Sort(may)
	may = slices.Compact(may)
	all := slices.Equal(may, protocol.Grants())
	err := g.db.Commit(func(tx *store.Tx) error {
		row := table.Key(g.mesh, []byte{'g'}, key[:])
		if all {
			return tx.Delete(table.Pins, row)
		}
		return table.PutJSON(tx, table.Pins, row, may)
	})
	if err != nil {
		return table.Refusal("keep the grant", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if all {
		delete(g.may, key)
	} else {
		g.may[key] = may
	}
	return nil
}

// list returns the keys about which something was said.
func (g *grants) list() map[crypto.PublicKey][]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make(map[crypto.PublicKey][]string, len(g.may))
	for key, may := range g.may {
		all[key] = slices.Clone(may)
	}
	return all
}

// changeGrant changes what a peer may and returns what he may then.
func (m *mesh) changeGrant(req protocol.GrantRequest) (protocol.GrantInfo, error) {
	for _, word := range slices.Concat(req.Grant, req.Revoke) {
		if !slices.Contains(protocol.Grants(), word) {
			e := protocol.Refuse(protocol.CodeInvalid, "there is no grant %q", word)
			e.Names = protocol.Grants()
			return protocol.GrantInfo{}, e
		}
	}
	t, err := m.resolve(req.Peer)
	if err != nil {
		return protocol.GrantInfo{}, err
	}
	if t.many() || t.member == m.self {
		return protocol.GrantInfo{}, protocol.Refuse(protocol.CodeInvalid, "grants are about one other peer, not %s", t.name)
	}
	may := slices.DeleteFunc(append(m.grants.of(t.key), req.Grant...), func(s string) bool { return slices.Contains(req.Revoke, s) })
	if err := m.grants.set(t.key, may); err != nil {
		return protocol.GrantInfo{}, err
	}
	if c, err := m.control.open(); err == nil { // else the next connection begins with it
		if err := m.tellGrants(c); err != nil {
			m.log.Warn("the broker was not told of a grant", "err", err)
		}
	}
	return m.grantInfo(t.key), nil
}

func (m *mesh) grantInfo(key crypto.PublicKey) protocol.GrantInfo {
	info := protocol.GrantInfo{Mesh: m.slug(), Name: m.callName(key), Pubkey: key.String(), May: m.grants.of(key)}
	for _, t := range m.addressable() {
		if t.key == key {
			info.Name = t.name
		}
	}
	return info
}

func (m *mesh) grantList() []protocol.GrantInfo {
	all := []protocol.GrantInfo{}
	for key := range m.grants.list() {
		all = append(all, m.grantInfo(key))
	}
	slices.SortFunc(all, func(a, b protocol.GrantInfo) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return all
}

func (d *Daemon) handleGrants(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	all := []protocol.GrantInfo{}
	for _, m := range meshes {
		all = append(all, m.grantList()...)
	}
	return reply(w, all)
}

func (d *Daemon) handleGrant(w http.ResponseWriter, r *http.Request) error {
	var req protocol.GrantRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	m, err := d.one(req.Mesh)
	if err != nil {
		return err
	}
	info, err := m.changeGrant(req)
	if err != nil {
		return err
	}
	return reply(w, info)
}

// tellGrants lets the broker refuse what we would: that saves the way of it, and decides nothing. It returns when the broker goes by
// it. A broker that has no room for all keeps what it had.
func (m *mesh) tellGrants(c *conn) error {
	if !c.grants {
		return nil
	}
	m.grants.telling.Lock()
	defer m.grants.telling.Unlock()
	frame := protocol.SetGrants{Tag: protocol.Tag{Type: protocol.TypeSetGrants}, Grants: make(map[string][]string)}
	for key, may := range m.grants.list() {
		frame.Grants[key.String()] = may
	}
	err := c.call(&frame, &frame.Tag, protocol.TypeOK, new(protocol.OK))
	if e, refused := err.(*protocol.Error); refused && e.Code != protocol.CodeTimeout {
		m.log.Warn("the broker does not take our grants", "err", err)
		return nil
	}
	return err
}
