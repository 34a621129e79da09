package delivery

import (
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
)

// Open reads a message that a session may see: its own, or its member's. A message of a sender whom the user has not let in stays
// closed, whoever read it meanwhile.
func (g *Dispatcher) Open(s registry.Session, local *keyring.Session, id string) (msg protocol.InboxMessage, err error) {
	v := g.d.Viewer(local)
	err = g.d.DB.View(func(tx *store.Tx) error {
		seq, err := g.d.Mail.Lookup(tx, id)
		if err != nil {
			return err
		}
		row := g.d.Mail.Row(tx, table.U64(seq))
		if row == nil || row.Alarm != "" || !row.Visible(v) {
			return protocol.Refuse(protocol.CodeNotFound, "no message %q for this session", id)
		}
		if msg = g.d.Mail.Show(row); msg.Alarm != "" {
			return protocol.Refuse(protocol.CodeNotFound, "%s", msg.Alarm)
		}
		sender, err := crypto.ParsePublicKey(msg.From.MemberPubkey)
		if err != nil {
			return err
		}
		if (row.Held != "" || s.Bypass) && !g.acceptedIn(tx)(row.Mesh, sender) {
			return protocol.Refuse(protocol.CodeForbidden, "the message is held until the user accepts its sender")
		}
		return nil
	})
	if err != nil {
		return protocol.InboxMessage{}, err
	}
	return msg, nil
}
