package daemon

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Original clients hold no certificate. In meshes whose owner allows them their keys are pinned at first sight, with the name
// that came along, and everything of theirs is shown with a ~ and as unverified. Nothing that the broker says turns a certified
// key into one of these.

const (
	maxLegacy = 1000 // keys of original clients that a mesh remembers
	maxClaims = 100  // that differ from a pin and are told in a daemon's life: a broker can make up as many as it likes
)

// legacyPin is a key of an original client as it was first seen.
type legacyPin struct {
	Name   string           `json:"name"`
	Member crypto.PublicKey `json:"member"`           // whose session it is, by the broker's word; itself for a member
	Seen   int64            `json:"seen"`             // Unix ms
	Sealed bool             `json:"sealed,omitempty"` // it sent an envelope once: bare text in its name is an alarm from then on
}

// uncertified reports whether nothing was ever signed for a key: only then may it be an original client's.
func (t *trustState) uncertified(key crypto.PublicKey) bool {
	view := t.current()
	if _, gone := view.Revoked(key); gone || view.Verified(key) || !key.Valid() || slices.Contains(view.Owners(), key) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, invited := t.invited[key]
	return !invited && t.sessions[key] == nil && t.apiKeys[key] == nil
}

// meet pins a key of an original client, or compares it with its pin. The first word stays; what differs is told, once. ok
// reports whether the key may speak without an envelope.
func (m *mesh) meet(key, member crypto.PublicKey, name string) (pin legacyPin, ok bool, err error) {
	t := m.trust
	if !t.current().Legacy() || !t.uncertified(key) || member != key && !t.uncertified(member) {
		return pin, false, nil
	}
	name = protocol.LegacyName(name)
	t.mu.Lock()
	have, known := t.legacy[key]
	full := len(t.legacy) >= maxLegacy
	told := legacyClaim{key, member, name}
	news := known && (have.Name != name || have.Member != member) && !t.claims[told] && len(t.claims) < maxClaims
	if news {
		t.claims[told] = true
	}
	t.mu.Unlock()
	switch {
	case news:
		m.notice(fmt.Sprintf("alarm in %s: the key %s of an original client, known as ~%s, calls itself %s now; it stays ~%s here", m.slug(), key.Short(), have.Name, name, have.Name))
		return have, true, nil
	case known:
		return have, true, nil
	case full:
		return pin, false, nil
	}
	pin = legacyPin{Name: name, Member: member, Seen: m.env.now().UnixMilli()}
	return pin, true, m.savePin(key, pin)
}

// legacyClaim is what somebody said of a key of an original client.
type legacyClaim struct {
	key, member crypto.PublicKey
	name        string
}

func (m *mesh) savePin(key crypto.PublicKey, pin legacyPin) error {
	err := m.env.db.Commit(func(tx *store.Tx) error { return putJSON(tx, bucketPins, keyIn(m.meshID, []byte{'l'}, key[:]), pin) })
	if err != nil {
		return storeRefusal("pin the key of an original client", err)
	}
	t := m.trust
	t.mu.Lock()
	t.legacy[key] = pin
	second := pin.Member == key && t.legacyNameLocked(key) != "~"+pin.Name
	t.mu.Unlock()
	if second && !pin.Sealed {
		m.notice(fmt.Sprintf("alarm in %s: a second key of an original client calls itself %s: %s", m.slug(), pin.Name, key.Short()))
	}
	return nil
}

// legacyNameLocked is what a pinned key is called: ~name, with the head of the key where another had the name before.
func (t *trustState) legacyNameLocked(key crypto.PublicKey) string {
	pin, ok := t.legacy[key]
	if !ok {
		return ""
	}
	if pin.Member != key {
		if name := t.legacyNameLocked(pin.Member); name != "" && t.legacy[pin.Member].Member == pin.Member {
			return name
		}
	}
	for other, p := range t.legacy {
		earlier := p.Seen < pin.Seen || p.Seen == pin.Seen && bytes.Compare(other[:], key[:]) < 0
		if other != key && p.Member == other && p.Name == pin.Name && earlier {
			return "~" + pin.Name + "~" + key.String()[:4]
		}
	}
	return "~" + pin.Name
}

// originals lists the pinned members who may be shown and written to now.
func (m *mesh) originals() []crypto.PublicKey {
	if !m.trust.current().Legacy() {
		return nil
	}
	m.trust.mu.Lock()
	var keys []crypto.PublicKey
	for key, pin := range m.trust.legacy {
		if pin.Member == key {
			keys = append(keys, key)
		}
	}
	m.trust.mu.Unlock()
	keys = slices.DeleteFunc(keys, func(k crypto.PublicKey) bool { return !m.trust.uncertified(k) })
	slices.SortFunc(keys, func(a, b crypto.PublicKey) int { return bytes.Compare(a[:], b[:]) })
	return keys
}

// isOriginal reports whether a message to key goes bare.
func (m *mesh) isOriginal(key crypto.PublicKey) bool {
	m.trust.mu.Lock()
	pin, ok := m.trust.legacy[key]
	m.trust.mu.Unlock()
	return ok && !pin.Sealed && m.trust.current().Legacy() && m.trust.uncertified(key)
}

// openBare opens what an original client wrote. It reports false for everything else, which is opened as an envelope or is an
// alarm.
func (a *arrival) openBare() (bool, error) {
	m := a.m
	sender, err := crypto.ParsePublicKey(a.push.SenderPubkey)
	if err != nil {
		return false, nil
	}
	member := sender
	if stated, err := crypto.ParsePublicKey(a.push.SenderMemberPubkey); err == nil {
		member = stated
	}
	pin, ok, err := m.meet(sender, member, a.push.SenderName)
	if err != nil || !ok || pin.Sealed {
		return false, err
	}
	a.bare, err = m.opener().OpenBare(a.push.Incoming(), pin.Member, m.callName(sender))
	switch {
	case errors.As(err, &a.alarm):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("open a bare message: %w", err)
	case a.bare == nil: // an envelope: from now on nothing else is taken from this key, once it proves to be its own
		return false, nil
	}
	a.take(a.bare.Message, pin.Member) // the header has no member: nothing stands behind an original session
	return true, nil
}

// provedEnvelope notes that an original client's key sent an envelope that opened: bare text in its name is an alarm from now on.
func (a *arrival) provedEnvelope() error {
	var key crypto.PublicKey
	switch {
	case a.held != nil:
		key = a.held.Header.From
	case a.msg != nil:
		key = a.msg.From()
	}
	a.m.trust.mu.Lock()
	pin, ok := a.m.trust.legacy[key]
	a.m.trust.mu.Unlock()
	if !ok || pin.Sealed {
		return nil
	}
	pin.Sealed = true
	return a.m.savePin(key, pin)
}

// applyBare stores a bare message: once in 180 days, and never one of our own that comes back.
func (a *arrival) applyBare(tx *store.Tx) error {
	if tx.Peek(bucketReplay, bareKey(a.m.meshID, a.bare.Content)) != nil {
		a.bare, a.msg = nil, nil
		sender, _ := crypto.ParsePublicKey(a.push.SenderPubkey)
		a.alarm = &protocol.AlarmError{Check: protocol.CheckBinding, Reason: "it is a message of our own that came back", Sender: sender}
		return a.storeAlarm(tx)
	}
	key := replayKey(a.m.meshID, a.msg.Opened(), a.msg.From(), a.bare.ID)
	if a.repeated = tx.Peek(bucketReplay, key) != nil; a.repeated {
		return nil
	}
	until := a.m.env.now().UnixMilli() + protocol.LegacyReplayMemory
	if err := tx.Put(bucketReplay, key, u64(uint64(until))); err != nil {
		return err
	}
	return a.storeMessage(tx, false)
}

// bareKey is where a box of our own to an original client is remembered.
func bareKey(mesh protocol.MeshID, content [32]byte) []byte {
	return keyIn(mesh, []byte("bare"), content[:])
}

// sealBare boxes a message for an original client, and remembers the box.
func (m *mesh) sealBare(tx *store.Tx, body []byte, shared *crypto.Key) (*sealedRow, error) {
	nonce, ciphertext, err := protocol.SealBare(body, shared)
	if err != nil {
		return nil, err
	}
	until := m.env.now().UnixMilli() + protocol.LegacyReplayMemory
	err = tx.Put(bucketReplay, bareKey(m.meshID, crypto.Hash(nonce, ciphertext)), u64(uint64(until)))
	return &sealedRow{Nonce: nonce, Ciphertext: ciphertext}, err
}

// readLegacyPin takes a row of bucketPins.
func (t *trustState) readLegacyPin(key, row []byte) {
	var pin legacyPin
	if len(key) == crypto.KeySize && json.Unmarshal(row, &pin) == nil {
		t.legacy[crypto.PublicKey(key)] = pin
	}
}

// legacyPeer is what is shown of a connection of an original client.
func (m *mesh) legacyPeer(p peer, key crypto.PublicKey) (protocol.PeerInfo, bool) {
	m.trust.mu.Lock()
	pin, ok := m.trust.legacy[key]
	m.trust.mu.Unlock()
	if !ok || !m.trust.current().Legacy() || !m.trust.uncertified(key) {
		return protocol.PeerInfo{}, false
	}
	info := protocol.PeerInfo{
		Mesh: m.slug(), Name: m.callName(pin.Member), Pubkey: key.String(), MemberPubkey: pin.Member.String(), SessionID: shownWord(p.item.SessionID),
		Status: shownWord(p.item.Status), Groups: []string{}, PeerType: shownWord(p.item.PeerType), Channel: shownWord(p.item.Channel),
		ConnectedAt: shownWord(p.item.ConnectedAt), Trust: protocol.TrustUnverified,
	}
	if key != pin.Member {
		info.Session = hex.EncodeToString(key[:2])
	}
	for _, g := range p.item.Groups {
		if protocol.ValidGroup(g.Name) {
			info.Groups = append(info.Groups, g.Name)
		}
	}
	if p.item.Summary != nil { // it came in clear, as all of this
		info.Summary = protocol.Neutralize(*p.item.Summary)
	}
	return info, true
}
