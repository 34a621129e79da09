package mesh

import (
	"context"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	pingPatience = 5 * time.Second // where the caller names none
	pingAtMost   = time.Minute
)

// pings are those on their way, by client id.
type pings struct {
	mu      sync.Mutex
	waiting map[string]pingWait
}

type pingWait struct {
	member crypto.PublicKey // who may answer
	answer chan protocol.ReceiptBody
}

// expect waits for the answer to the ping of that id; stop ends that.
func (p *pings) expect(id string, member crypto.PublicKey) (answer <-chan protocol.ReceiptBody, stop func()) {
	w := pingWait{member: member, answer: make(chan protocol.ReceiptBody, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = make(map[string]pingWait)
	}
	p.waiting[id] = w
	return w.answer, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, id)
	}
}

// answer takes a proved receipt. It counts for a ping to the member who signed it, and for no other.
func (p *pings) answer(proof *protocol.Message) {
	receipts, _ := proof.Receipts() // what is not in order answers nothing
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range receipts {
		if w, ok := p.waiting[r.ID]; ok && w.member == proof.Member() {
			delete(p.waiting, r.ID)
			w.answer <- r
		}
	}
}

// Ping asks the daemon of a peer for a sign of life, which it seals and signs. What only the broker says is told as that.
// Errors are *protocol.Error.
func (m *Mesh) Ping(ctx context.Context, req protocol.PingRequest) (protocol.PingResult, error) {
	t, err := m.pingTarget(req.To)
	if err != nil {
		return protocol.PingResult{}, err
	}
	res := protocol.PingResult{
		Mesh: m.Slug(), Name: m.trust.Name(t.Member), Session: t.session, Pubkey: t.Spec, MemberPubkey: t.Member.String(),
		Trust: m.trust.Trust(t.Member), InPerson: m.trust.MetInPerson(t.Member),
	}
	there := m.who.reach(t.Member, t.key)
	res.Presence, res.CanAnswer = there.presence(), there.canAnswer(protocol.PriorityNext)
	c, err := m.control.open()
	if err != nil {
		return res, err
	}
	if t.session != "" && !m.who.live(t.key) {
		return m.absent(res, t), nil
	}
	id := protocol.NewClientID()
	frame, err := m.pingFrame(id, t.key)
	if err != nil {
		return res, err
	}
	answer, stop := m.pings.expect(id, t.Member)
	defer stop()
	start := time.Now()
	var ack protocol.Ack
	if err := c.ask(frame, &frame.Tag, protocol.TypeAck, &ack); err != nil {
		return res, err
	}
	took := time.Since(start)
	switch {
	case ack.Code == protocol.CodeUnavailable:
		return m.absent(res, t), nil
	case ack.Code == protocol.CodeBlocked:
		res.State, res.Reason = protocol.PingRefused, "the broker says that he takes no such messages from you"
		return res, nil
	case !ack.Queued:
		return res, protocol.Refused(ack.Code, ack.Error, ack.Retryable, ack.RetryAfter)
	}
	res.BrokerRTTms = millis(took)
	wait := protocol.Millis(req.WaitMS, pingAtMost)
	if wait == 0 {
		wait = pingPatience
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case r := <-answer:
		res.RTTms = millis(time.Since(start))
		res.State, res.OK = protocol.PingAnswered, true
		if r.State == protocol.StateRefused {
			res.State, res.OK, res.Reason = protocol.PingRefused, false, protocol.Neutralize(r.Reason)
		}
	case <-late.C:
		res.State, res.Reason = protocol.PingSilent, "the broker has it, and no answer came"
	case <-c.gone:
		res.State, res.Reason = protocol.PingSilent, "the connection to the broker ended"
	case <-ctx.Done():
		res.State, res.Reason = protocol.PingSilent, "given up"
	}
	return res, nil
}

// pingTarget finds who is meant: somebody else's daemon, one that answers.
func (m *Mesh) pingTarget(to string) (Target, error) {
	t, err := m.Resolve(to)
	switch {
	case err != nil:
		return t, err
	case t.Many():
		return t, protocol.Refuse(protocol.CodeInvalid, "a ping is for one member or session, not for %s", t.name)
	case t.Member == m.self:
		return t, protocol.Refuse(protocol.CodeInvalid, "%s is yourself", t.name)
	case m.isAPIKey(t.key):
		return t, protocol.Refuse(protocol.CodeNotSupported, "%s is an API key: no daemon answers for it", t.name)
	}
	return t, nil
}

// absent is what the broker says of somebody who is not connected.
func (m *Mesh) absent(res protocol.PingResult, t Target) protocol.PingResult {
	res.State, res.Reason = protocol.PingOffline, "the broker says that nobody is connected"
	there := m.who.reach(t.Member, t.key)
	res.LastSeen, res.Presence, res.CanAnswer = there.last, there.presence(), there.canAnswer(protocol.PriorityNext)
	return res
}

// pingFrame seals a ping of the member's.
func (m *Mesh) pingFrame(id string, to crypto.PublicKey) (*protocol.Send, error) {
	shared, err := m.ring.Shared(m.self, to)
	if err != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "seal to %s: %v", to.Short(), err)
	}
	nonce, ciphertext, err := protocol.SealDirect(&protocol.Header{
		ID: id, Mesh: m.meshID, From: m.self, Member: m.self, To: to.String(), Prio: protocol.PriorityNow, TS: m.env.now().UnixMilli(),
		Ep: noEpoch, Log: m.trust.View().Digest(), Kind: protocol.KindPing,
	}, nil, m.key, &shared)
	if err != nil {
		return nil, err
	}
	return &protocol.Send{
		Tag: protocol.Tag{Type: protocol.TypeSend}, ID: id, ClientMessageID: id, TargetSpec: to.String(), Priority: protocol.PriorityNow,
		Nonce: base64Text(nonce), Ciphertext: base64Text(ciphertext), Kind: protocol.KindPing,
	}, nil
}

// millis is d in milliseconds, to the hundredth.
func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
