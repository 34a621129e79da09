package api

import (
	"net/http"
	"strconv"

	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
)

func (d *API) handleSend(w http.ResponseWriter, r *http.Request) error {
	var req protocol.SendRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	acting, err := d.Acting(req.Session)
	if err != nil {
		return err
	}
	view, err := newModelView(d.Roster, req.Session)
	if err != nil {
		return err
	}
	m, err := d.Route(req)
	if err != nil {
		return view.refusal(d.Meshes(), err)
	}
	result, err := m.Send(r.Context(), req, acting)
	if err != nil {
		return view.refusal([]*mesh.Mesh{m}, err)
	}
	if acting != nil {
		d.sentBy(acting, &req, &result)
	}
	d.answered(&req, acting)
	return reply(w, view.Sent(m, result))
}

// answered marks what a message that was accepted answers as read by who wrote it.
func (d *API) answered(req *protocol.SendRequest, acting *keyring.Session) {
	if req.ReplyTo == "" {
		return
	}
	_, err := d.markRead(protocol.InboxChange{IDs: []string{req.ReplyTo}}, acting)
	if code := protocol.CodeOf(err); err != nil && code != protocol.CodeNotFound && code != protocol.CodeForbidden {
		d.Log.Warn("answered message not marked as read", "msg", req.ReplyTo, "err", err)
	}
}

func (d *API) handleMessage(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.Some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	var found protocol.SendResult
	none := protocol.Refuse(protocol.CodeNotFound, "no message %q was sent from here", id).WithHint("ids are those that send printed")
	err = firstThatKnows(meshes, none, func(m *mesh.Mesh) (err error) {
		found, err = m.Message(id)
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, found)
}

func (d *API) handleInbox(w http.ResponseWriter, r *http.Request) error {
	page, err := d.listInbox(r)
	if err != nil {
		return err
	}
	return reply(w, page)
}

// listInbox reads a page of the mail that a request asks for.
func (d *API) listInbox(r *http.Request) (page protocol.InboxPage, err error) {
	q := protocol.InboxQuery{Mesh: r.FormValue("mesh"), Session: r.FormValue("session")}
	for name, parse := range map[string]func(string) (err error){
		"all":    func(s string) (err error) { q.All, err = strconv.ParseBool(s); return err },
		"unseen": func(s string) (err error) { q.Unseen, err = strconv.ParseBool(s); return err },
		"unread": func(s string) (err error) { q.Unread, err = strconv.ParseBool(s); return err },
		"brief":  func(s string) (err error) { q.Brief, err = strconv.ParseBool(s); return err },
		"limit":  func(s string) (err error) { q.Limit, err = strconv.Atoi(s); return err },
		"before": func(s string) (err error) { q.Before, err = strconv.ParseUint(s, 10, 64); return err },
	} {
		if s := r.FormValue(name); s != "" && parse(s) != nil {
			return page, protocol.Refuse(protocol.CodeInvalid, "%s=%q", name, s)
		}
	}
	acting, err := d.inboxOf(q.Mesh, q.Session)
	if err != nil {
		return page, err
	}
	return d.Mail.Page(q, d.Viewer(acting))
}

// inboxOf checks what narrows a request about mail: an unknown mesh or session is an error, not an empty list.
func (d *API) inboxOf(mesh, session string) (*keyring.Session, error) {
	if _, err := d.Some(mesh); err != nil {
		return nil, err
	}
	return d.Acting(session)
}

func (d *API) handleRead(w http.ResponseWriter, r *http.Request) error {
	return d.change(w, r, d.markRead)
}

// markRead marks messages as read by a session or, with nil, by the person.
func (d *API) markRead(c protocol.InboxChange, acting *keyring.Session) (int, error) {
	meshes, n, err := d.Mail.MarkRead(c, d.Viewer(acting), d.give.Read(acting))
	d.WakeMeshes(meshes)
	return n, err
}

func (d *API) handleDelete(w http.ResponseWriter, r *http.Request) error {
	return d.change(w, r, func(c protocol.InboxChange, acting *keyring.Session) (int, error) {
		return d.Mail.Delete(c, d.Viewer(acting))
	})
}

// change runs a change of the inbox that names its messages.
func (d *API) change(w http.ResponseWriter, r *http.Request, do func(protocol.InboxChange, *keyring.Session) (int, error)) error {
	var c protocol.InboxChange
	if err := decode(r, &c); err != nil {
		return err
	}
	if c.All == (len(c.IDs) > 0) {
		return protocol.Refuse(protocol.CodeInvalid, "name messages, or all of them")
	}
	acting, err := d.inboxOf(c.Mesh, c.Session)
	if err != nil {
		return err
	}
	n, err := do(c, acting)
	if err != nil {
		return err
	}
	return reply(w, protocol.CountReply{OK: true, Count: n})
}

func (d *API) handleFlush(w http.ResponseWriter, r *http.Request) error {
	var f protocol.InboxFlush
	if err := decode(r, &f); err != nil {
		return err
	}
	if f.Before.IsZero() {
		return protocol.Refuse(protocol.CodeInvalid, "before is missing: flush deletes what came before a time")
	}
	if _, err := d.Some(f.Mesh); err != nil {
		return err
	}
	n, kept, err := d.Mail.Flush(f)
	if err != nil {
		return err
	}
	return reply(w, protocol.FlushReply{OK: true, Count: n, Kept: kept})
}

// sentListed is how many of the newest messages GET /v1/sent lists a mesh.
const sentListed = 50

func (d *API) handleSent(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.Some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	all := []protocol.SendResult{}
	for _, m := range meshes {
		sent, err := m.Sent(sentListed)
		if err != nil {
			return err
		}
		all = append(all, sent...)
	}
	return reply(w, all)
}

func (d *API) handleRequeue(w http.ResponseWriter, r *http.Request) error {
	var req protocol.RequeueRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	meshes, err := d.Some(req.Mesh)
	if err != nil {
		return err
	}
	none := protocol.Refuse(protocol.CodeNotFound, "no message %q in the outbox", req.ID).WithHint("claudemesh daemon outbox list")
	if err := firstThatKnows(meshes, none, func(m *mesh.Mesh) error { return m.Requeue(req.ID) }); err != nil {
		return err
	}
	return reply(w, protocol.OKReply{OK: true})
}

// handleOpen gives a session one message as it was written.
func (d *API) handleOpen(_ *http.Request, req protocol.OpenRequest) (any, error) {
	s, local, err := d.LiveSession(req.Session)
	if err != nil {
		return nil, err
	}
	return d.give.Open(s, local, req.ID)
}
