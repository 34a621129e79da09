package inbox

import (
	"fmt"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// What one page has at most, so that no list takes memory, or holds a transaction open, in
// proportion to what was received.
const (
	pageDefault = 100      // messages when the caller names no limit
	pageMost    = 500      // messages: a screenful of screens
	pageBytes   = 1 << 20  // of their texts; the first message always fits
	pageLooks   = 20_000   // rows that are looked at for them: 0.2 s
	pageRead    = 64 << 20 // bytes of these rows, which may be of other meshes or seen: likewise
	briefBytes  = 512      // that a message counts of which the text is not asked for
)

// Page returns what v may see, newest first. It marks nothing.
func (b *Mailbox) Page(q protocol.InboxQuery, v *Viewer) (protocol.InboxPage, error) {
	page := protocol.InboxPage{Messages: []protocol.InboxMessage{}}
	most := min(q.Limit, pageMost)
	if q.Limit <= 0 {
		most = pageDefault
	}
	var before []byte
	if q.Before != 0 {
		before = table.U64(q.Before)
	}
	err := b.db.View(func(tx *store.Tx) error {
		bytes, looks, read, last := 0, 0, 0, uint64(0)
		for k, stored := range tx.ScanBack(table.Inbox, nil, before) {
			if len(page.Messages) == most || bytes >= pageBytes || looks == pageLooks || read >= pageRead {
				page.Next = last
				return nil
			}
			looks, read, last = looks+1, read+len(stored), table.ParseU64(k)
			row := b.decode(k, stored)
			if q.Mesh != "" && b.slug(row.Mesh) != q.Mesh || !row.Visible(v) || !row.wanted(q, v) {
				continue
			}
			msg := b.Show(row)
			bytes += len(msg.Body) + briefBytes
			if q.Brief {
				bytes -= len(msg.Body)
				msg.Body, msg.Meta = "", nil
			}
			page.Messages = append(page.Messages, msg)
		}
		return nil
	})
	if err != nil {
		return page, fmt.Errorf("list the inbox: %w", err)
	}
	return page, nil
}
