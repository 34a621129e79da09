package client

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/claudemesh/claudemesh/daemon/probe"
	"github.com/claudemesh/claudemesh/protocol"
)

// Health tells what the daemon and its connections are at this moment.
func (c *Client) Health(ctx context.Context) (h protocol.Health, err error) {
	err = c.get(ctx, "/v1/health", nil, &h)
	return h, err
}

// Network has the daemon walk to the broker of a mesh, or with an empty slug to all, as its own connections do.
func (c *Client) Network(ctx context.Context, mesh string) (n probe.Network, err error) {
	err = c.get(ctx, "/v1/network", values("mesh", mesh), &n)
	return n, err
}

// Probe is Health within ProbeTimeout.
func (c *Client) Probe(ctx context.Context) (protocol.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	return c.Health(ctx)
}

// Meshes lists the joined meshes.
func (c *Client) Meshes(ctx context.Context) (list []protocol.MeshInfo, err error) {
	err = c.get(ctx, "/v1/meshes", nil, &list)
	return list, err
}

// WhoAmI tells who a session (id, label or key; empty: the member) is on each mesh.
func (c *Client) WhoAmI(ctx context.Context, session string) (list []protocol.WhoAmI, err error) {
	err = c.get(ctx, "/v1/whoami", values("session", session), &list)
	return list, err
}

// Peers lists the sessions that are online, of one mesh or, with an empty slug, of all.
func (c *Client) Peers(ctx context.Context, mesh string) (list []protocol.PeerInfo, err error) {
	err = c.get(ctx, "/v1/peers", values("mesh", mesh), &list)
	return list, err
}

// PeersFor is Peers for the model of a session: without those of whom it may know nothing, and without their words.
func (c *Client) PeersFor(ctx context.Context, session, mesh string) (list []protocol.PeerInfo, err error) {
	err = c.get(ctx, "/v1/peers", values("mesh", mesh, "session", session), &list)
	return list, err
}

// MembersFor is Members for the model of a session: of those of whom it may know nothing there is only the standing.
func (c *Client) MembersFor(ctx context.Context, session, mesh string) (list []protocol.MemberInfo, err error) {
	err = c.get(ctx, "/v1/members", values("mesh", mesh, "session", session), &list)
	return list, err
}

// Members lists members, online or not, of one mesh or, with an empty slug, of all.
func (c *Client) Members(ctx context.Context, mesh string) (list []protocol.MemberInfo, err error) {
	err = c.get(ctx, "/v1/members", values("mesh", mesh), &list)
	return list, err
}

// Groups lists the groups of one mesh or, with an empty slug, of all, as a session (empty: the member) is in them.
func (c *Client) Groups(ctx context.Context, mesh, session string) (list []protocol.GroupInfo, err error) {
	err = c.get(ctx, "/v1/groups", values("mesh", mesh, "session", session), &list)
	return list, err
}

// Send returns when the message is on this machine's disk, or in the state that the request waits for.
func (c *Client) Send(ctx context.Context, req protocol.SendRequest) (res protocol.SendResult, err error) {
	err = c.post(ctx, "/v1/send", req, &res)
	return res, err
}

// Message tells the state of a message that was sent from here: client id, message id, or a unique prefix of 8 or more.
func (c *Client) Message(ctx context.Context, mesh, id string) (res protocol.SendResult, err error) {
	err = c.get(ctx, "/v1/messages/"+url.PathEscape(id), values("mesh", mesh), &res)
	return res, err
}

// Inbox lists messages, newest first, up to the limit of the query, and marks nothing.
func (c *Client) Inbox(ctx context.Context, q protocol.InboxQuery) (list []protocol.InboxMessage, err error) {
	for m, err := range c.Mail(ctx, q) {
		if err != nil {
			return list, err
		}
		list = append(list, m)
	}
	return list, nil
}

// Mail is Inbox for a caller who keeps none of it: it asks for a page when the one before was taken.
func (c *Client) Mail(ctx context.Context, q protocol.InboxQuery) iter.Seq2[protocol.InboxMessage, error] {
	return func(yield func(protocol.InboxMessage, error) bool) {
		left := cmp.Or(max(q.Limit, 0), inboxDefault)
		for left > 0 {
			q.Limit = left
			page, err := c.inboxPage(ctx, q)
			if err != nil {
				yield(protocol.InboxMessage{}, err)
				return
			}
			for _, m := range page.Messages {
				if !yield(m, nil) {
					return
				}
			}
			left -= len(page.Messages)
			if q.Before = page.Next; q.Before == 0 {
				return
			}
		}
	}
}

// inboxDefault is how many messages are listed when the caller names no limit.
const inboxDefault = 100

func (c *Client) inboxPage(ctx context.Context, q protocol.InboxQuery) (page protocol.InboxPage, err error) {
	v := values("mesh", q.Mesh, "session", q.Session)
	for name, set := range map[string]bool{"all": q.All, "unseen": q.Unseen, "unread": q.Unread, "brief": q.Brief} {
		if set {
			v.Set(name, "true")
		}
	}
	v.Set("limit", strconv.Itoa(q.Limit))
	if q.Before > 0 {
		v.Set("before", strconv.FormatUint(q.Before, 10))
	}
	err = c.get(ctx, "/v1/inbox", v, &page)
	return page, err
}

// InboxMessage reads one message that was received here, by client id, message id or a unique prefix of either, and marks nothing.
func (c *Client) InboxMessage(ctx context.Context, id string) (m protocol.InboxMessage, err error) {
	err = c.get(ctx, "/api/v1/messages/"+url.PathEscape(id), nil, &m)
	return m, err
}

// MarkRead marks messages as read and returns how many were not.
func (c *Client) MarkRead(ctx context.Context, ch protocol.InboxChange) (int, error) {
	return c.count(ctx, "/v1/inbox/read", ch)
}

// DeleteMessages deletes messages of the inbox and returns how many.
func (c *Client) DeleteMessages(ctx context.Context, ch protocol.InboxChange) (int, error) {
	return c.count(ctx, "/v1/inbox/delete", ch)
}

// FlushInbox deletes what was received before a time.
func (c *Client) FlushInbox(ctx context.Context, f protocol.InboxFlush) (reply protocol.FlushReply, err error) {
	err = c.post(ctx, "/v1/inbox/flush", f, &reply)
	return reply, err
}

// Presence changes what others see of a session.
func (c *Client) Presence(ctx context.Context, req protocol.PresenceRequest) error {
	return c.post(ctx, "/v1/presence", req, new(protocol.OKReply))
}

// Invites lists the links that this member issued, of one mesh or, with an empty slug, of all.
func (c *Client) Invites(ctx context.Context, mesh string) (list []protocol.InviteInfo, err error) {
	err = c.get(ctx, "/v1/invites", values("mesh", mesh), &list)
	return list, err
}

// CreateInvite makes a link; the answer is the only place where it ever stands.
func (c *Client) CreateInvite(ctx context.Context, req protocol.InviteRequest) (info protocol.InviteInfo, err error) {
	err = c.post(ctx, "/v1/invites", req, &info)
	return info, err
}

// CloseInvite closes a link: whoever comes with it from now on is refused.
func (c *Client) CloseInvite(ctx context.Context, mesh, id string) error {
	path := "/v1/invites/" + url.PathEscape(id)
	if q := values("mesh", mesh).Encode(); q != "" {
		path += "?" + q
	}
	return c.do(ctx, http.MethodDelete, path, nil, new(protocol.OKReply))
}

// Publish hands in statements (base64url) that were signed with the owner key.
func (c *Client) Publish(ctx context.Context, mesh string, statements ...string) error {
	return c.post(ctx, "/v1/publish", protocol.PublishRequest{Mesh: mesh, Statements: statements}, new(protocol.OKReply))
}

// Ban revokes a member's key for ever. This member must be an admin.
func (c *Client) Ban(ctx context.Context, req protocol.BanRequest) error {
	return c.post(ctx, "/v1/members/ban", req, new(protocol.OKReply))
}

// Admit certifies one of those who claim a link of this member's.
func (c *Client) Admit(ctx context.Context, req protocol.AdmitRequest) error {
	return c.post(ctx, "/v1/members/admit", req, new(protocol.OKReply))
}

// Leave revokes our own key on a mesh and forgets the membership. Without force it does neither while the broker is away.
func (c *Client) Leave(ctx context.Context, mesh string, force bool) (reply protocol.LeaveReply, err error) {
	err = c.post(ctx, "/v1/leave", protocol.LeaveRequest{Mesh: mesh, Force: force}, &reply)
	return reply, err
}

// Gaps lists by member what did not arrive in time.
func (c *Client) Gaps(ctx context.Context, mesh string) (list []protocol.GapInfo, err error) {
	err = c.get(ctx, "/v1/gaps", values("mesh", mesh), &list)
	return list, err
}

// Outbox lists messages on their way out, of one mesh or, with an empty slug, of all.
func (c *Client) Outbox(ctx context.Context, mesh string) (list []protocol.OutboxRow, err error) {
	err = c.get(ctx, "/v1/outbox", values("mesh", mesh), &list)
	return list, err
}

// Sent lists the newest messages that left from here, of one mesh or, with an empty slug, of all.
func (c *Client) Sent(ctx context.Context, mesh string) (list []protocol.SendResult, err error) {
	err = c.get(ctx, "/v1/sent", values("mesh", mesh), &list)
	return list, err
}

// Requeue gives a dead message another try, with the target and the ciphertext that it had.
func (c *Client) Requeue(ctx context.Context, mesh, id string) error {
	return c.post(ctx, "/v1/outbox/requeue", protocol.RequeueRequest{Mesh: mesh, ID: id}, new(protocol.OKReply))
}

// Shutdown asks the daemon to stop. It answers before it does.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.post(ctx, "/v1/shutdown", nil, new(protocol.OKReply))
}

func (c *Client) count(ctx context.Context, path string, in any) (int, error) {
	var reply protocol.CountReply
	err := c.post(ctx, path, in, &reply)
	return reply.Count, err
}

// values builds a query of the pairs whose value is not empty.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

// Ping asks the daemon of a peer for a sign of life. It returns when there is one, or after req.WaitMS.
func (c *Client) Ping(ctx context.Context, req protocol.PingRequest) (res protocol.PingResult, err error) {
	err = c.post(ctx, "/v1/ping", req, &res)
	return res, err
}
