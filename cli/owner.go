package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// book is a mesh as somebody sees it who signs with its owner key. That is a person: the daemon uses the key for one thing
// alone, to confirm that an admin left.
type book struct {
	info    protocol.MeshInfo
	mesh    protocol.MeshID
	charter *protocol.Statement
	all     []*protocol.Statement // in force or not
	pins    protocol.Pins
	view    *protocol.View
}

// openBook reads what the daemon holds of a mesh.
func openBook(ctx context.Context, cl *client.Client, m protocol.MeshInfo) (*book, error) {
	got, err := cl.Statements(ctx, m.Mesh)
	if err != nil {
		return nil, err
	}
	b := &book{info: m, mesh: protocol.MeshID(m.MeshID), pins: protocol.Pins{Owner: make(map[uint64]protocol.ID)}}
	if b.charter, err = protocol.ParseTextIn(b.mesh, got.Charter); err != nil {
		return nil, fmt.Errorf("read the charter: %w", err)
	}
	for _, text := range got.Statements {
		s, err := protocol.ParseTextIn(b.mesh, text)
		if err != nil {
			return nil, fmt.Errorf("read a statement: %w", err)
		}
		b.all = append(b.all, s)
	}
	for n, text := range got.Accepted {
		if b.pins.Owner[n], err = protocol.ParseID(text); err != nil {
			return nil, fmt.Errorf("read a hand-over: %w", err)
		}
	}
	b.view = protocol.NewView(b.charter, b.all, b.pins)
	return b, nil
}

// before is the view without hand-over n and those behind it.
func (b *book) before(n uint64) *protocol.View {
	var kept []*protocol.Statement
	for _, s := range b.all {
		if o, ok := s.Body.(*protocol.OwnerChange); !ok || o.N < n {
			kept = append(kept, s)
		}
	}
	return protocol.NewView(b.charter, kept, b.pins)
}

// nameOf is what a certificate, in force or not, calls a key.
func (b *book) nameOf(key crypto.PublicKey) string {
	if m, ok := b.view.Member(key); ok {
		return m.Name
	}
	for _, s := range b.all {
		if c, ok := s.Body.(*protocol.Cert); ok && c.Member == key {
			return c.Name
		}
	}
	return key.Short()
}

// describe says what a statement does.
func (b *book) describe(s *protocol.Statement) string {
	day := func(unix int64) string { return protocol.TimeOfSeconds(unix).Local().Format(time.DateOnly) }
	switch x := s.Body.(type) {
	case *protocol.Cert:
		return fmt.Sprintf("makes %s (%s) %s, %s", x.Name, x.Member.Short(), x.Role, day(x.Issued))
	case *protocol.Revoke:
		what := "removes"
		switch x.Kind {
		case protocol.RevokeAdmin:
			what = "demotes"
		case protocol.RevokeLink:
			return fmt.Sprintf("closes a link, %s", day(x.At))
		}
		return fmt.Sprintf("%s %s (%s), %s%s", what, b.nameOf(x.Target), x.Target.Short(), day(x.At), parenthesis(x.Reason))
	case *protocol.OwnerChange:
		return fmt.Sprintf("hands the mesh over to %s", x.New.Short())
	}
	return s.Kind
}

func parenthesis(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func dropFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "drop", Usage: "do not keep the statements `IDS`, as listed, with commas between"}
}

func yesFlag() urfave.Flag {
	return &urfave.BoolFlag{Name: "yes", Usage: "do not ask: what is listed was looked at"}
}

// keepList has the operator confirm what of a leaving key's statements stays in force. The rest is void, whatever date it
// bears: that is what undoes an intruder's work.
func (c *call) keepList(b *book, view *protocol.View, leaving crypto.PublicKey, question string) ([]protocol.ID, error) {
	drops := strings.FieldsFunc(c.str("drop"), func(r rune) bool { return r == ',' || r == ' ' })
	used := make(map[string]bool)
	var keep []protocol.ID
	for _, s := range view.Signed(leaving) {
		mark := "keep"
		for _, d := range drops {
			if len(d) >= 6 && strings.HasPrefix(s.ID.String(), d) {
				mark, used[d] = "drop", true
			}
		}
		if mark == "keep" {
			keep = append(keep, s.ID)
		}
		c.note("    %s  %s  %s", mark, shortID(s.ID.String()), clean(b.describe(s)))
	}
	for _, d := range drops {
		if !used[d] {
			return nil, protocol.Refuse(protocol.CodeNotFound, "--drop %s: that key signed no such statement that is in force", d)
		}
	}
	if len(keep) == 0 && len(drops) == 0 {
		c.note("    it signed nothing that is in force")
	}
	return keep, c.confirm("%s", question)
}

// ownerKey finds the key that owns the mesh now, and opens it.
func (c *call) ownerKey(m protocol.MeshInfo) (*crypto.PrivateKey, error) {
	k, err := findOwnerKey(m)
	if err != nil {
		return nil, err
	}
	key, _, err := c.unlock(k)
	return key, err
}

// unlock opens an owner key and returns its passphrase, too, nil if it has none.
func (c *call) unlock(k *config.OwnerKey) (key *crypto.PrivateKey, pass []byte, err error) {
	if !k.Protected() {
		return k.Key, nil, nil
	}
	if pass, err = c.passphrase("of the owner key", false); err != nil {
		return nil, nil, err
	}
	if err := k.Unlock(pass); err != nil {
		return nil, nil, err
	}
	return k.Key, pass, nil
}

func findOwnerKey(m protocol.MeshInfo) (*config.OwnerKey, error) {
	home, err := config.DefaultHome()
	if err != nil {
		return nil, err
	}
	keys, err := home.OwnerKeys(protocol.MeshID(m.MeshID))
	for _, k := range keys {
		if k.Public.String() == m.Owner {
			return k, nil
		}
	}
	if err != nil {
		return nil, err
	}
	e := protocol.Refuse(protocol.CodeUnauthorized, "the owner key of %s is not on this machine", m.Mesh).
		WithHint("claudemesh mesh owner-key import FILE, or put it back at %s", home.OwnerKeyFile(m.Mesh))
	if len(keys) > 0 {
		e.Message = fmt.Sprintf("%s holds an owner key of %s that was replaced", keys[0].Path, m.Mesh)
	}
	return nil, e
}

// pickMember finds a member by name, or by 6 or more digits of the key.
func pickMember(ctx context.Context, cl *client.Client, mesh, ref string) (protocol.MemberInfo, crypto.PublicKey, error) {
	members, err := cl.Members(ctx, mesh)
	if err != nil {
		return protocol.MemberInfo{}, crypto.PublicKey{}, err
	}
	var found []protocol.MemberInfo
	var names []string
	for _, m := range members {
		gone := m.Trust == protocol.TrustUnverified // removed, left, or too late with the link: by key only
		if !gone {
			names = append(names, m.Name)
		}
		if m.Name == ref && !gone || len(ref) >= 6 && strings.HasPrefix(m.Pubkey, ref) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		key, err := crypto.ParsePublicKey(found[0].Pubkey)
		return found[0], key, err
	case 0:
		e := protocol.Refuse(protocol.CodeNotFound, "no member %q in %s", ref, mesh).WithHint("claudemesh members lists them")
		e.Names = names
		return protocol.MemberInfo{}, crypto.PublicKey{}, e
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "%q is the name of %d members", ref, len(found)).WithHint("name the beginning of the key")
	for _, m := range found {
		e.Names = append(e.Names, m.Name+" "+m.Pubkey)
	}
	return protocol.MemberInfo{}, crypto.PublicKey{}, e
}

// aim is where the verbs of roles begin: the daemon, the mesh, and the member that the first argument names.
type aim struct {
	cl   *client.Client
	mesh protocol.MeshInfo
	who  protocol.MemberInfo
	key  crypto.PublicKey
}

func (c *call) atMember(ctx context.Context) (a aim, err error) {
	if a.cl, err = c.daemon(ctx); err != nil {
		return a, err
	}
	if _, err = settled(ctx, a.cl); err != nil {
		return a, err
	}
	if a.mesh, err = pickMesh(ctx, a.cl, c.str("mesh")); err != nil {
		return a, err
	}
	a.who, a.key, err = pickMember(ctx, a.cl, a.mesh.Mesh, c.arg(0))
	return a, err
}

// publishSigned signs with the owner key and publishes.
func publishSigned(ctx context.Context, cl *client.Client, mesh string, body protocol.Body, key *crypto.PrivateKey) error {
	s, err := protocol.Sign(body, key)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	return cl.Publish(ctx, mesh, s.Text())
}
