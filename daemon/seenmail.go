package daemon

import (
	"context"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall"
)

// Limits of the mail that the memory takes up.
const (
	mailPage = 200
	mailMost = 5000 // messages, the newest
)

// seenMail returns what verified members wrote and the user or a session has seen: what is held, or
// still waits, is shown by the inbox and by nothing else.
func (d *Daemon) seenMail(ctx context.Context) ([]recall.Mail, error) {
	var out []recall.Mail
	q := protocol.InboxQuery{All: true, Limit: mailPage}
	for looked := 0; looked < mailMost; {
		page, err := d.Mail.Page(q, nil)
		if err != nil {
			return nil, err
		}
		for i := range page.Messages {
			m := &page.Messages[i]
			if m.Held == "" && m.Alarm == "" && m.From.Trust == protocol.TrustVerified && (m.ReadAt != nil || m.ShownAt != nil) {
				from := m.From.Name
				if m.From.Session != "" {
					from += "/" + m.From.Session
				}
				out = append(out, recall.Mail{ID: m.From.Pubkey + m.ID, From: from, Mesh: m.Mesh, Text: m.Body, At: m.SentAt})
			}
		}
		looked += len(page.Messages)
		if q.Before = page.Next; page.Next == 0 || ctx.Err() != nil {
			break
		}
	}
	return out, ctx.Err()
}
