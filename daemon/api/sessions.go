package api

import (
	"net/http"
	"time"

	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
)

func (d *API) handleRegister(r *http.Request, req protocol.SessionRequest) (any, error) {
	s, err := d.Register(req)
	if err != nil {
		return nil, err
	}
	if len(req.Groups) > 0 {
		_, acting, err := d.LiveSession(s.ID)
		if err != nil {
			return nil, err
		}
		for _, m := range d.Meshes() {
			if err := m.SetPresence(r.Context(), protocol.PresenceRequest{Join: req.Groups}, acting); err != nil {
				return nil, err
			}
		}
	}
	return d.sessionInfo(s)
}

func (d *API) handleSessions(w http.ResponseWriter, _ *http.Request) error {
	all := []protocol.SessionInfo{}
	for _, s := range d.Live.Live() {
		info, err := d.sessionInfo(s)
		if err != nil {
			continue // it ended just now
		}
		all = append(all, info)
	}
	return reply(w, all)
}

func (d *API) handleEndSession(w http.ResponseWriter, r *http.Request) error {
	d.Live.End(r.PathValue("id"))
	return reply(w, protocol.OKReply{OK: true})
}

// handleTake answers with mail for a rung, at once or as soon as there is some.
func (d *API) handleTake(w http.ResponseWriter, r *http.Request) error {
	var req protocol.TakeRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	wait := protocol.Millis(int64(req.WaitMS), delivery.TakeLongest)
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	woken, cancel := d.Hub.Subscribe()
	defer cancel()
	var replaced <-chan struct{}
	if req.Rung == protocol.RungRewake {
		ok := false
		if replaced, ok = d.give.Rungs.Wait(req.Session, req.Waiter); !ok {
			return reply(w, protocol.TakeReply{Messages: []protocol.InboxMessage{}, Replaced: true})
		}
	}
	look := time.NewTicker(delivery.TakeLook)
	defer look.Stop()
	for {
		s, local, err := d.LiveSession(req.Session)
		if err != nil {
			return err
		}
		if req.Rung != protocol.RungPull {
			d.give.Rungs.Asking(s.ID, req.Rung, d.Now())
		}
		if err := d.give.Judge(s, local); err != nil {
			return err
		}
		mail, err := d.give.Take(r.Context(), s, local, req)
		if err != nil {
			return err
		}
		if len(mail.Messages) > 0 || wait <= 0 {
			return reply(w, mail)
		}
		select {
		case <-woken:
		case <-look.C: // what depends on the time alone: another rung fell silent, a flood is over
		case <-replaced:
			return reply(w, protocol.TakeReply{Messages: []protocol.InboxMessage{}, Replaced: true})
		case <-timeout.C:
			return reply(w, mail)
		case <-d.Life.Done():
			return protocol.Refuse(protocol.CodeUnavailable, "the daemon stops").RetryAfter(time.Second)
		case <-r.Context().Done():
			if d.Life.Err() == nil {
				d.give.HungUp(s.ID, req.Rung)
			}
			return nil
		}
	}
}

func (d *API) handleSettle(_ *http.Request, req protocol.SettleRequest) (any, error) {
	switch req.State {
	case protocol.SettlePushed, protocol.SettleReturned, protocol.SettleUnproved, protocol.SettleShown:
	default:
		return nil, protocol.Refuse(protocol.CodeInvalid, "unknown state %q: use pushed, returned, unproved or shown", req.State)
	}
	s, local, err := d.LiveSession(req.Session)
	if err != nil {
		return nil, err
	}
	if err := d.give.Settle(s, local, req); err != nil {
		return nil, err
	}
	return protocol.OKReply{OK: true}, nil
}

// handleAccept lets a sender in who was held.
func (d *API) handleAccept(_ *http.Request, req protocol.AcceptRequest) (any, error) {
	m, err := d.Route(protocol.SendRequest{Mesh: req.Mesh, To: req.Peer})
	if err != nil {
		return nil, err
	}
	to, err := m.Resolve(req.Peer)
	if err != nil {
		return nil, err
	}
	if to.Many() {
		return nil, protocol.Refuse(protocol.CodeInvalid, "%q is not a single sender", req.Peer)
	}
	if err := d.give.Accept(m.ID(), to.Member); err != nil {
		return nil, err
	}
	return protocol.OKReply{OK: true}, nil
}

// sessionInfo is what is told of a live session.
func (d *API) sessionInfo(s registry.Session) (protocol.SessionInfo, error) {
	info := protocol.SessionInfo{
		ID: s.ID, Label: s.Label, Cwd: s.Cwd, PID: s.Process.PID, Status: roster.StatusOr(s.Status), Bypass: s.Bypass, Groups: []string{},
		Meshes: make(map[string]string),
	}
	_, local, err := d.LiveSession(s.ID)
	if err != nil {
		return info, err
	}
	info.Pubkey = local.Public().String()
	for _, m := range d.Meshes() {
		info.Meshes[m.Slug()] = m.SessionState(local.Public())
		if own := m.LocalSession(local); own != nil {
			info.Summary = own.Summary
			info.Groups = append(info.Groups, own.Groups...)
		}
	}
	info.Guarded = d.give.Guard.State(local.Public(), d.Now())
	info.Unread, info.Held, err = d.give.Count(s, local)
	return info, err
}
