package mesh

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/spool"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// draft is a message that is about to be accepted.
type draft struct {
	id       string
	from     *crypto.PrivateKey
	to       string // 64 hex, "*", "@group"
	name     string // as people call the target
	priority string
	kind     string
	replyTo  string
	meta     json.RawMessage
	body     []byte
	asked    string         // the target as the request says it
	people   []outRecipient // direct: exactly one
	echo     bool           // many: a wrap for ourselves too, because other sessions of ours are to see it
	number   bool           // the message counts in the numbers of its stream
	fileIDs  []string       // as the request names them
	files    []spool.File
	refs     []protocol.FileRef // of files, with their keys
}

// Send accepts a message: when it returns without an error, the message is sealed, numbered and on disk. A client id
// that was used before answers what became of that message. Errors are *protocol.Error.
func (m *Mesh) Send(ctx context.Context, req protocol.SendRequest, acting *keyring.Session) (protocol.SendResult, error) {
	res, err := m.sendNow(ctx, req, acting)
	if err != nil || req.WaitMS <= 0 {
		return res, err
	}
	want := req.WaitFor
	if want == "" {
		want = protocol.StateDelivered
	}
	return m.waitFor(ctx, res, want, protocol.Millis(int64(req.WaitMS), waitAtMost))
}

func (m *Mesh) sendNow(ctx context.Context, req protocol.SendRequest, acting *keyring.Session) (protocol.SendResult, error) {
	if req.ClientID != "" {
		if !protocol.ValidClientID(req.ClientID) {
			return protocol.SendResult{}, protocol.Refuse(protocol.CodeInvalid, "client id is not 16 to 64 of [0-9A-Za-z_-]")
		}
		row, err := m.rowOf(req.ClientID)
		if err != nil {
			return protocol.SendResult{}, err
		}
		if row != nil {
			return m.repeated(row, req)
		}
	}
	d, err := m.draft(req, acting)
	if err != nil {
		return protocol.SendResult{}, err
	}
	if err := m.addFiles(ctx, d); err != nil {
		return protocol.SendResult{}, err
	}
	row, err := m.accept(d)
	if err != nil {
		return protocol.SendResult{}, err
	}
	if !row.is(d) {
		return protocol.SendResult{}, errOtherMessage(row)
	}
	return m.result(row), nil
}

// draft checks a request and finds out who is meant.
func (m *Mesh) draft(req protocol.SendRequest, acting *keyring.Session) (*draft, error) {
	d := &draft{id: req.ClientID, from: m.key, priority: req.Priority, kind: req.Kind, replyTo: req.ReplyTo, body: []byte(req.Body), asked: req.To, number: true, fileIDs: req.Files}
	if acting != nil {
		d.from = acting.Key
	}
	if d.id == "" {
		d.id = protocol.NewClientID()
	}
	if d.priority == "" {
		d.priority = protocol.PriorityNext
	}
	if err := m.checkRequest(req, d); err != nil {
		return nil, err
	}
	to := req.To
	if req.ReplyTo != "" {
		original, err := m.env.Mail.Find(req.ReplyTo)
		if err != nil && to == "" {
			return nil, err
		}
		if err == nil {
			d.replyTo = original.ID
			if to == "" {
				to = original.From.Pubkey
			}
		}
	}
	t, err := m.Resolve(to)
	if err != nil {
		return nil, err
	}
	return d, m.address(d, t)
}

func (m *Mesh) checkRequest(req protocol.SendRequest, d *draft) error {
	if err := protocol.CheckText(req.Body); err != nil {
		return err
	}
	switch {
	case !protocol.ValidPriority(d.priority):
		return protocol.Refuse(protocol.CodeInvalid, "priority %q is not now, next or low", d.priority)
	case d.kind == protocol.KindReceipt || d.kind == protocol.KindLog || d.kind == protocol.KindCard || d.kind == protocol.KindPing || protocol.MemoryKind(d.kind):
		return protocol.Refuse(protocol.CodeInvalid, "kind %q is the daemon's own", d.kind)
	}
	if err := m.checkSending(); err != nil {
		return err
	}
	d.meta = givenMeta(req) // what it must be the header's rules say
	return nil
}

// checkSending refuses when this member can send nothing at all now.
func (m *Mesh) checkSending() error {
	if m.out.depth() >= outboxPerMesh {
		return protocol.Refuse(protocol.CodeQueueFull, "%d messages wait in the outbox of %s", outboxPerMesh, m.Slug()).
			WithHint("claudemesh daemon outbox list shows why").RetryAfter(retryAtMost)
	}
	if reason, removed := m.removed(); removed {
		return protocol.Refuse(protocol.CodeRevoked, "%s: nothing was kept", reason).
			WithHint("ask an admin for a new link; claudemesh leave %s, then join with it", m.Slug())
	}
	return nil
}

// address fills in the recipients of a draft.
func (m *Mesh) address(d *draft, t Target) error {
	d.to, d.name = t.Spec, t.name
	from := d.from.Public()
	if !t.Many() {
		if t.key == from || t.key == m.self {
			return protocol.Refuse(protocol.CodeInvalid, "%s is yourself", t.name)
		}
		d.people = []outRecipient{{Key: t.key, Member: t.Member, Name: strings.TrimSuffix(t.name, "/"+t.session), Session: t.session}}
		return nil
	}
	if !m.trust.View().Verified(m.self) {
		return protocol.Refuse(protocol.CodeForbidden, "you are not admitted to %s yet: only direct messages are possible", m.Slug())
	}
	d.people = m.audience(t.Spec)
	for _, s := range m.ring.Sessions(true) {
		d.echo = d.echo || s.Public() != from && (t.Spec == "*" || inGroup(s.Groups, t.Spec))
	}
	if len(d.people) == 0 && !d.echo {
		if t.Spec == "*" {
			return protocol.Refuse(protocol.CodeNotFound, "nobody but you in %s", m.Slug()).WithHint("claudemesh invite makes a link for somebody")
		}
		return m.noSuchGroup(t.Spec)
	}
	if len(d.people)+1 > protocol.MaxKeys {
		return protocol.Refuse(protocol.CodePayloadTooLarge, "%d recipients, at most %d are possible", len(d.people), protocol.MaxKeys-1)
	}
	return nil
}

// audience lists the recipients of "*" or "@group": verified members other than ourselves, for a group those with a
// session whose statement names it.
func (m *Mesh) audience(spec string) []outRecipient {
	view := m.trust.View()
	named := make(map[crypto.PublicKey]bool)
	for _, s := range m.trust.Sessions() {
		if inGroup(s.Groups, spec) {
			named[s.Member] = true
		}
	}
	var people []outRecipient
	for _, member := range view.Members() {
		if member.Key != m.self && (spec == "*" || named[member.Key]) {
			people = append(people, outRecipient{Key: member.Key, Member: member.Key, Name: m.trust.Name(member.Key)})
		}
	}
	return people
}

func inGroup(groups []string, spec string) bool {
	for _, g := range groups {
		if "@"+g == spec {
			return true
		}
	}
	return false
}

// accept seals a draft and commits it with its numbers, then wakes the drain.
func (m *Mesh) accept(d *draft) (*outRow, error) {
	from := d.from.Public()
	keys, err := m.sharedKeys(d)
	if err != nil {
		return nil, err
	}
	att, issued, err := m.ring.Attest(from)
	if err != nil {
		return nil, err
	}
	now := m.env.now().UnixMilli()
	row := &outRow{
		ID: d.id, MessageID: protocol.MessageID(m.meshID, m.self, d.id), To: d.to, Name: d.name, From: from,
		Priority: d.priority, Kind: d.kind, ReplyTo: d.replyTo, Bytes: len(d.body), Created: now, Since: now,
		Stage: stagePending, Recipients: d.people, Asked: d.asked, Content: d.content(), Files: withoutKeys(d.files),
	}
	for i := range row.Recipients {
		r := &row.Recipients[i]
		r.State, r.Proof, r.At = protocol.StateAccepted, protocol.ProofSelf, now
	}
	header := protocol.Header{
		ID: d.id, Mesh: m.meshID, From: from, Member: m.self, To: d.to, Prio: d.priority, TS: max(now, issued),
		Log: m.trust.View().Digest(), Att: att, Kind: d.kind, ReplyTo: d.replyTo, Meta: d.meta, Files: d.refs,
	}
	var n uint64
	err = m.env.DB.Commit(func(tx *store.Tx) error {
		have, _, err := m.out.rowOf(tx, d.id)
		if err != nil {
			return err
		}
		if have != 0 {
			return errRepeated
		}
		box, err := m.seal(tx, d, header, keys)
		if err != nil {
			return err
		}
		if len(d.files) > 0 {
			if err := m.env.Files.Take(tx, d.files, m.meshID, d.id); err != nil {
				return err
			}
		}
		n, err = m.out.add(tx, row, box)
		return err
	})
	if errors.Is(err, errRepeated) {
		return m.rowOf(d.id)
	}
	if err != nil {
		return nil, table.Refusal("accept the message", err)
	}
	m.out.enqueue(n, row)
	if len(row.Files) > 0 {
		m.uploads.wake()
	}
	m.wakeOut(from)
	return row, nil
}

// errRepeated means that a concurrent request with the same client id was first.
var errRepeated = errors.New("accepted already")

// sharedKeys derives, outside of any transaction, the keys of the boxes to all recipients.
func (m *Mesh) sharedKeys(d *draft) (map[crypto.PublicKey]*crypto.Key, error) {
	keys := make(map[crypto.PublicKey]*crypto.Key, len(d.people)+1)
	want := make([]crypto.PublicKey, 0, len(d.people)+1)
	for _, r := range d.people {
		want = append(want, r.Key)
	}
	if d.echo {
		want = append(want, m.self)
	}
	// A key costs 0.1 ms when it is derived for the first time: a first message to 500 people is shared out to all processors.
	derived, failed := make([]crypto.Key, len(want)), make([]error, len(want))
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(want))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(want); i += workers {
				derived[i], failed[i] = m.ring.Shared(d.from.Public(), want[i])
			}
		})
	}
	wg.Wait()
	for i, peer := range want {
		if failed[i] != nil {
			return nil, protocol.Refuse(protocol.CodeInvalid, "seal to %s: %v", peer.Short(), failed[i])
		}
		keys[peer] = &derived[i]
	}
	return keys, nil
}

// seal takes the numbers and makes the box, inside the transaction that stores both.
func (m *Mesh) seal(tx *store.Tx, d *draft, h protocol.Header, keys map[crypto.PublicKey]*crypto.Key) (*sealedRow, error) {
	epoch := table.Epoch(tx)
	h.Ep = hex.EncodeToString(epoch[:])
	if target, direct := h.Target(); direct {
		if d.number {
			n, err := m.takeNumber(tx, h.From, target, h.Prio, epoch)
			if err != nil {
				return nil, err
			}
			h.Seq = n
		}
		nonce, ciphertext, err := protocol.SealDirect(&h, d.body, d.from, keys[target])
		return &sealedRow{Nonce: nonce, Ciphertext: ciphertext}, err
	}
	g, err := protocol.SealGroup(&h, d.body, d.from)
	if err != nil {
		return nil, err
	}
	box := &sealedRow{Nonce: g.Nonce, Ciphertext: g.Ciphertext, Keys: make(map[string][]byte, len(keys))}
	for member, shared := range keys {
		n, err := m.takeNumber(tx, h.From, member, h.Prio, epoch)
		if err != nil {
			return nil, err
		}
		box.Keys[member.String()] = g.Wrap(n, shared)
	}
	return box, nil
}

// Message finds a message of ours by client id, message id or a unique prefix of 6 or more of either. Errors are
// *protocol.Error: not_found, ambiguous.
func (m *Mesh) Message(id string) (protocol.SendResult, error) {
	row, err := m.storedRow(id)
	if err != nil {
		return protocol.SendResult{}, err
	}
	if row == nil {
		return protocol.SendResult{}, protocol.Refuse(protocol.CodeNotFound, "no message %q was sent to %s from here", id, m.Slug())
	}
	return m.result(row), nil
}

// storedRow reads a row by its id; nil when there is none.
func (m *Mesh) storedRow(id string) (found *outRow, err error) {
	err = m.env.DB.View(func(tx *store.Tx) error {
		found, err = m.out.find(tx, id)
		return err
	})
	return found, err
}

// rowOf reads a row by its whole client id; nil when there is none.
func (m *Mesh) rowOf(clientID string) (found *outRow, err error) {
	err = m.env.DB.View(func(tx *store.Tx) error {
		_, found, err = m.out.rowOf(tx, clientID)
		return err
	})
	return found, err
}

const waitAtMost = 24 * time.Hour // of a request for a state: the caller asks again

// waitFor returns what became of a message when every recipient reached a state, or is dead, or the time is over.
func (m *Mesh) waitFor(ctx context.Context, res protocol.SendResult, want protocol.State, limit time.Duration) (protocol.SendResult, error) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		changed := m.out.watch()
		row, err := m.rowOf(res.ID)
		if err != nil {
			return res, err
		}
		if row == nil {
			return res, nil
		}
		if res = m.result(row); res.State.Rank() >= want.Rank() {
			return res, nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return res, nil
		case <-ctx.Done():
			return res, nil
		}
	}
}
