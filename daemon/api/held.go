package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/protocol"
)

// handleHeld answers whose messages wait for the user's word, as soon as that is news to the caller.
func (d *API) handleHeld(w http.ResponseWriter, r *http.Request) error {
	var req protocol.HeldRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	wait := protocol.Millis(int64(req.WaitMS), delivery.TakeLongest)
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	woken, cancel := d.Hub.Subscribe()
	defer cancel()
	look := time.NewTicker(delivery.TakeLook)
	defer look.Stop()
	slices.Sort(req.Known)
	for {
		s, local, err := d.LiveSession(req.Session)
		if err != nil {
			return err
		}
		held, err := d.give.HeldSenders(s, local)
		if err != nil {
			return err
		}
		keys := []string{}
		for _, h := range held {
			keys = append(keys, h.Pubkey)
		}
		slices.Sort(keys)
		if !slices.Equal(keys, req.Known) || wait <= 0 {
			return reply(w, protocol.HeldReply{Senders: held})
		}
		select {
		case <-woken:
		case <-look.C: // the status of a turn that was interrupted, a mode that a hook told of
		case <-timeout.C:
			return reply(w, protocol.HeldReply{Senders: held})
		case <-r.Context().Done():
			return nil
		case <-d.Life.Done():
			return protocol.Refuse(protocol.CodeUnavailable, "the daemon stops").RetryAfter(time.Second)
		}
	}
}
