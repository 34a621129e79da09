package cli

import (
	"context"

	"github.com/claudemesh/claudemesh/protocol"
)

// completedIDs bounds the ids that are offered: the newest.
const completedIDs = 50

// ask returns the words that f makes of what the daemon answers. Where it does not answer in time there are none.
func ask[T any](c *candidates, get func(context.Context, string) ([]T, error), f func(T) []string) []string {
	if c.client == nil {
		return nil
	}
	rows, err := get(c.ctx, c.mesh())
	if err != nil {
		return nil
	}
	var words []string
	for _, row := range rows {
		words = append(words, f(row)...)
	}
	return words
}

func (c *candidates) names() []string {
	return ask(c, c.client.Members, func(m protocol.MemberInfo) []string {
		if m.Self || m.Trust == protocol.TrustUnverified {
			return nil
		}
		return []string{m.Name}
	})
}

// peers are the live sessions: name/label.
func (c *candidates) peers() []string {
	return ask(c, c.client.Peers, func(p protocol.PeerInfo) []string {
		if p.Session == "" {
			return nil
		}
		return []string{p.Name + "/" + p.Session}
	})
}

func (c *candidates) groups() []string {
	return ask(c, c.client.Peers, func(p protocol.PeerInfo) []string { return p.Groups })
}

func atGroups(groups []string) []string {
	var out []string
	for _, g := range groups {
		out = append(out, "@"+g)
	}
	return out
}

func (c *candidates) meshes() []string {
	all := func(ctx context.Context, _ string) ([]protocol.MeshInfo, error) { return c.client.Meshes(ctx) }
	return ask(c, all, func(m protocol.MeshInfo) []string { return []string{m.Mesh} })
}

func (c *candidates) sessions() []string {
	all := func(ctx context.Context, _ string) ([]protocol.SessionInfo, error) { return c.client.Sessions(ctx) }
	return ask(c, all, func(s protocol.SessionInfo) []string { return []string{s.Label} })
}

// ids returns the ids that a verb takes.
func (c *candidates) ids(verb string) []string {
	switch verb {
	case "invite close":
		return ask(c, c.client.Invites, func(i protocol.InviteInfo) []string {
			if i.State != "open" {
				return nil
			}
			return []string{shortID(i.ID)}
		})
	case "apikey revoke":
		return ask(c, c.client.APIKeys, func(k protocol.APIKeyInfo) []string {
			if k.RevokedAt != nil {
				return nil
			}
			return []string{shortID(k.ID)}
		})
	case "message status":
		return ask(c, c.client.Sent, func(r protocol.SendResult) []string { return []string{shortID(r.ID)} })
	case "daemon outbox requeue":
		return ask(c, c.client.Outbox, func(r protocol.OutboxRow) []string {
			if r.State != protocol.StateDead {
				return nil
			}
			return []string{shortID(r.ID)}
		})
	}
	inbox := func(ctx context.Context, mesh string) ([]protocol.InboxMessage, error) {
		return c.client.Inbox(ctx, protocol.InboxQuery{Mesh: mesh, All: true, Brief: true, Limit: completedIDs})
	}
	return ask(c, inbox, func(m protocol.InboxMessage) []string { return []string{shortID(m.ID)} })
}
