package mcp

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// takeWait is how long one request for mail stays open at the daemon. Long, so that an idle session costs nothing.
const takeWait = 25 * time.Second

// deliver brings the session's mail by the best rung that works here, until ctx ends. A rung that fails gives the message back for the next one;
// when none is left the messages wait for check_messages.
func (s *server) deliver(ctx context.Context, channel *channelTransport) {
	select {
	case <-s.initialized: // a client takes no notifications before it is ready
	case <-ctx.Done():
		return
	}
	rungs := s.rungs(channel)
	backoff := time.Second
	for ctx.Err() == nil {
		if len(rungs) == 0 {
			s.keepRegistered(ctx)
			return
		}
		ok, err := s.deliverOnce(ctx, rungs[0])
		switch {
		case err != nil: // the daemon is away: come back, not all at once
			s.Logger.Debug("mail not fetched", "err", err)
			if !sleep(ctx, time.Duration(float64(backoff)*(0.5+rand.Float64()/2))) {
				return
			}
			backoff = min(2*backoff, 8*time.Second)
			continue
		case !ok:
			s.Logger.Warn("delivery method failed, using the next", "rung", rungs[0].name)
			rungs = rungs[1:]
		}
		backoff = time.Second
	}
}

// errNotRead says that a client has not read what was written to it. It may be slow or frozen: the way is not given up.
var errNotRead = errors.New("the client did not read the message")

// rung is one way of delivery. An error of post says that the message was not handed over, begun that some of it was
// written all the same.
type rung struct {
	name string
	post func(context.Context, protocol.InboxMessage) (begun bool, err error)
}

func (s *server) rungs(channel *channelTransport) []rung {
	var all []rung
	if s.Inbox.Path != "" && s.Inbox.Token != "" {
		all = append(all, rung{protocol.RungSocket, func(ctx context.Context, m protocol.InboxMessage) (bool, error) {
			return s.Inbox.post(ctx, s.session(), m)
		}})
	}
	if s.Channel {
		all = append(all, rung{protocol.RungChannel, channel.push})
	}
	return all
}

// deliverOnce waits for mail and posts it. False: this rung does not work here.
func (s *server) deliverOnce(ctx context.Context, r rung) (bool, error) {
	// First what the daemon did not hear: what it believes to be under way when this rung asks again, it gives again.
	for len(s.unsaid) > 0 {
		err := s.withSession(ctx, func() error { return s.Mesh.Settle(ctx, s.unsaid[0]) })
		if err != nil && protocol.CodeOf(err) != protocol.CodeUnknownSession { // of a session that ended: nobody waits to hear it
			return true, err
		}
		s.unsaid = s.unsaid[1:]
	}
	var mail protocol.TakeReply
	err := s.withSession(ctx, func() (err error) {
		mail, err = s.Mesh.Take(ctx, protocol.TakeRequest{Session: s.session(), Rung: r.name, WaitMS: int(takeWait.Milliseconds())})
		return err
	})
	if err != nil {
		return true, err
	}
	for i, m := range mail.Messages {
		begun, err := r.post(ctx, m)
		if err != nil {
			s.Logger.Warn("mail not sent", "rung", r.name, "msg", m.ID, "err", err)
			rest := mail.Messages[i:]
			if begun { // it may be on the screen: the next way marks it
				s.settleOrOwe(ctx, s.settlement(r.name, protocol.SettleUnproved, rest[:1]))
				rest = rest[1:]
			}
			if len(rest) > 0 {
				s.settleOrOwe(ctx, s.settlement(r.name, protocol.SettleReturned, rest))
			}
			return errors.Is(err, errNotRead), nil
		}
		s.settleOrOwe(ctx, s.settlement(r.name, protocol.SettlePushed, mail.Messages[i:i+1]))
	}
	return true, nil
}

func (s *server) settlement(rung, state string, messages []protocol.InboxMessage) protocol.SettleRequest {
	ids := make([]string, len(messages))
	for i, m := range messages {
		ids[i] = m.ID
	}
	return protocol.SettleRequest{Session: s.session(), Rung: rung, State: state, IDs: ids}
}

// settle tells the daemon, in a context of its own: a session that is being closed still says what it did.
func (s *server) settle(ctx context.Context, req protocol.SettleRequest) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := s.Mesh.Settle(ctx, req)
	if err != nil {
		s.Logger.Warn("mail not settled", "state", req.State, "err", err)
	}
	return err
}

// settleOrOwe is settle for deliver alone, which says once more what the daemon did not hear.
func (s *server) settleOrOwe(ctx context.Context, req protocol.SettleRequest) {
	if len(s.unsaid) > 0 || s.settle(ctx, req) != nil {
		s.unsaid = append(s.unsaid, req)
	}
}

// keepRegistered holds the session on the mesh when it has no rung but the pull.
func (s *server) keepRegistered(ctx context.Context) {
	for {
		s.forget()
		if err := s.register(ctx); err != nil {
			s.Logger.Debug("session not registered", "err", err)
		}
		if !sleep(ctx, 10*time.Second) {
			return
		}
	}
}

// sleep waits, and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
