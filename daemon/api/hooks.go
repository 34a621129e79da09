package api

import (
	"context"
	"net/http"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
)

// hookMost is how many messages one hook adds to a context: the agent takes 10,000 characters from it.
const hookMost = 4

// handleHook hears what a session does: its status follows, what its prompt holds was shown, and where nothing better
// brings mail the answer does.
func (d *API) handleHook(w http.ResponseWriter, r *http.Request) error {
	var req protocol.HookRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	if err := d.recall.heard(r.Context(), &req); err != nil {
		d.Log.Warn("hook not reported to the memory", "event", req.Event, "err", err)
	}
	if req.Event == protocol.HookSessionEnd {
		d.Live.End(req.Session.ID)
		return reply(w, protocol.HookReply{})
	}
	s, err := d.Register(req.Session)
	if err != nil {
		return err
	}
	s, local, err := d.LiveSession(s.ID)
	if err != nil {
		return err
	}
	if err := d.give.Judge(s, local); err != nil {
		return err
	}
	d.give.Rungs.Heard(s.ID, req.Event, d.Now())
	if len(req.Shown) > 0 {
		if err := d.give.Settle(s, local, protocol.SettleRequest{State: protocol.SettleShown, IDs: req.Shown}); err != nil {
			return err
		}
	}
	if req.Human {
		released, err := d.give.Guard.Human(local.Public())
		if err != nil {
			return err
		}
		if released {
			d.Hub.Wake()
		}
	}
	mail, err := d.hookMail(r.Context(), s, local, &req)
	if err != nil {
		return err
	}
	if err := d.hookStatus(r, s, local, &req, len(mail.Messages) > 0); err != nil {
		return err
	}
	out := protocol.HookReply{Messages: mail.Messages, Meshes: []protocol.WhoAmI{}}
	if out.Session, err = d.sessionInfo(s); err != nil {
		return err
	}
	for _, m := range d.Meshes() {
		out.Meshes = append(out.Meshes, m.Whoami(local))
	}
	return reply(w, out)
}

// hookMail takes what the event may add to the context. The start of a session adds nothing: the model is not asked before a prompt
// comes, so nothing could be said to be shown.
func (d *API) hookMail(ctx context.Context, s registry.Session, local *keyring.Session, req *protocol.HookRequest) (protocol.TakeReply, error) {
	status := protocol.StatusIdle
	switch req.Event {
	case protocol.HookPrompt:
	case protocol.HookToolUse:
		status = protocol.StatusWorking
	case protocol.HookStop:
		if req.Active {
			return protocol.TakeReply{}, nil
		}
	default:
		return protocol.TakeReply{}, nil
	}
	if req.Quiet {
		return protocol.TakeReply{}, nil
	}
	return d.give.TakeAt(ctx, s, local, status, protocol.TakeRequest{Session: s.ID, Rung: protocol.RungHook, Max: hookMost})
}

// hookStatus follows the turn. What the user set to dnd stays so.
func (d *API) hookStatus(r *http.Request, s registry.Session, local *keyring.Session, req *protocol.HookRequest, goesOn bool) error {
	status := ""
	switch {
	case s.Status == protocol.StatusDND:
	case req.Waits: // a subagent's question is put to the same person
		status = protocol.StatusWaiting
		d.waits.Begin(s.ID, req.File)
	case s.Status == protocol.StatusWaiting && req.Event == protocol.HookToolUse:
		status = protocol.StatusWorking
	case req.Quiet:
	case req.Idle:
		status = protocol.StatusIdle
	case req.Event == protocol.HookPrompt, req.Event == protocol.HookStop && goesOn:
		status = protocol.StatusWorking
	case req.Event == protocol.HookStop, req.Event == protocol.HookSessionStart:
		status = protocol.StatusIdle
	}
	if status != "" && status != s.Status {
		d.SetStatus(r.Context(), s, local, status)
	}
	return nil
}

// sentBy learns from what a session sends: an answer proves that the message was shown, and exchanges are counted.
func (d *API) sentBy(acting *keyring.Session, req *protocol.SendRequest, sent *protocol.SendResult) {
	m, err := d.Mesh(sent.Mesh)
	if err != nil {
		return
	}
	for _, r := range sent.Recipients {
		if key, err := crypto.ParsePublicKey(r.Pubkey); err == nil {
			d.give.Guard.Sent(acting.Public(), m.MemberOf(key))
		}
	}
	s, local, err := d.LiveSession(acting.ID)
	if req.ReplyTo == "" || err != nil {
		return
	}
	if err := d.give.Settle(s, local, protocol.SettleRequest{State: protocol.SettleShown, IDs: []string{req.ReplyTo}}); err != nil {
		d.Log.Warn("answer is no proof", "session", acting.Label, "err", err)
	}
}

// handleStatusLine tells of one mesh what fits on a line: of the default one, or the first.
func (d *API) handleStatusLine(w http.ResponseWriter, r *http.Request) error {
	all := d.Meshes()
	if len(all) == 0 {
		return reply(w, protocol.StatusLine{})
	}
	m, err := d.One("")
	if err != nil {
		m = all[0]
	}
	line := protocol.StatusLine{Mesh: m.Slug(), More: len(all) - 1, State: m.Health().State}
	for _, member := range m.Members() {
		if member.Trust != protocol.TrustVerified && !member.Self { // whoever holds a link is not somebody to write to
			continue
		}
		line.Members++
		if member.Online || member.Self && line.State == protocol.ConnOpen {
			line.Online++
		}
	}
	session := r.FormValue("session")
	line.Waiting = d.WaitingBeside(session)
	requests, err := d.asks.Requests()
	if err != nil {
		return err
	}
	line.Asked = len(requests)
	if s, local, err := d.LiveSession(session); err == nil {
		line.Unread, line.Held, err = d.give.Count(s, local)
		if err != nil {
			return err
		}
		line.Guarded = len(d.give.Guard.State(local.Public(), d.Now())) > 0
		return reply(w, line)
	}
	if line.Unknown = session != ""; line.Unknown { // of which the line says that alone
		return reply(w, line)
	}
	page, err := d.Mail.Page(protocol.InboxQuery{Unread: true, Brief: true, Limit: 100}, nil) // of the newest, as many as a page looks at
	if err != nil {
		return err
	}
	line.Unread = len(page.Messages)
	return reply(w, line)
}
