// Package enrol creates a mesh and joins one. It needs no daemon: it asks the broker, checks what the broker
// answers against the link, and writes the membership into config.json, where a daemon finds it.
package enrol

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	defaultWait    = 5 * time.Second  // for the issuer's daemon to admit us
	maxHold        = 10 * time.Second // that a broker holds one POST /join
	pendingMaxAge  = protocol.LinkMaxLifetime + 10*24*time.Hour
	betweenAsking  = 200 * time.Millisecond // should a broker answer at once instead of holding the request
	maxJoinReplies = 4 * protocol.MaxMeshLog
)

// JoinOptions of Join. Home and Link are needed.
type JoinOptions struct {
	Home         config.Home
	Link         string        // a secret
	Name         string        // wanted; the issuer's daemon makes it unique. Empty: see DefaultName
	WaitVerified time.Duration // zero means 5 s, negative: do not wait
	Insecure     bool          // the link's broker may be ws:// on another host

	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil means net.Dialer
	Now  func() time.Time                                                  // nil means time.Now
}

// Joined is what became of a join.
type Joined struct {
	Membership config.Membership
	Trust      protocol.Trust // verified, or invited
	Reason     string         // why it is not verified yet, and what that means
	Resumed    bool           // an earlier join by this link was taken up, with its key
}

// Join enters the mesh of a link. What can be checked without the network is checked before; what the broker answers is
// checked against the link, which the broker cannot forge. The new key is on disk before anybody hears of it. A link that
// is refused leaves nothing behind. Errors are *protocol.Error.
func Join(ctx context.Context, o JoinOptions) (*Joined, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.WaitVerified == 0 {
		o.WaitVerified = defaultWait
	}
	link, err := protocol.ParseLink(o.Link)
	if err != nil {
		return nil, err
	}
	j := &joining{o: o, link: link, inv: link.Inv}
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	if err := j.awaitCert(ctx); err != nil {
		return nil, err
	}
	return &Joined{Membership: j.member, Trust: j.trust, Reason: j.reason, Resumed: j.resumed}, nil
}

// joining is one join under way.
type joining struct {
	o       JoinOptions
	link    *protocol.Link
	inv     *protocol.Invite
	pending *config.Pending
	enrol   *protocol.Statement
	resumed bool
	set     *protocol.Set
	member  config.Membership
	trust   protocol.Trust
	reason  string
}

// enter does everything up to the membership in config.json. It holds a lock, so that one link pasted twice is joined
// once.
func (j *joining) enter(ctx context.Context) error {
	lock, err := j.o.Home.Lock("join")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := j.check(); err != nil {
		return err
	}
	if err := j.o.Home.SweepPending(j.o.Now().Add(-pendingMaxAge)); err != nil {
		return err
	}
	if err := j.makeKey(); err != nil {
		return err
	}
	if err := j.ask(ctx, 0); err != nil {
		if leavesNothing(err) {
			err = errors.Join(err, j.o.Home.DropPending(j.inv.Link))
		}
		return err
	}
	if err := j.save(); err != nil {
		return err
	}
	return j.o.Home.DropPending(j.inv.Link)
}

// leavesNothing reports whether the key can be forgotten: the link was refused, or the request never left. After any other
// error the broker may have taken the key, and the next try must come with the same.
func leavesNothing(err error) bool {
	if brokerhttp.Unsent(err) {
		return true
	}
	switch protocol.CodeOf(err) {
	case protocol.CodeExpired, protocol.CodeClosedLink, protocol.CodeUsedUp, protocol.CodeForeign, protocol.CodeForbidden,
		protocol.CodeRevoked, protocol.CodeInvalid, protocol.CodeBadStatement, protocol.CodeBadSignature, protocol.CodeNotFound:
		return true
	}
	return false
}

// check is what needs no network.
func (j *joining) check() error {
	err := protocol.CheckBrokerURL(j.inv.URL, j.o.Insecure)
	if err != nil {
		return err
	}
	if j.pending, err = j.o.Home.LoadPending(j.inv.Link); err != nil {
		return err
	}
	at := protocol.TimeOfSeconds(j.inv.Expires)
	if !j.o.Now().Before(at) && j.pending == nil { // a key that was admitted before may still come for its certificate
		return protocol.Refuse(protocol.CodeExpired, "the link expired at %s", at.UTC().Format(time.DateTime+" MST")).WithHint("ask for a new link")
	}
	c, err := j.o.Home.Load()
	if err != nil {
		return err
	}
	if j.o.Name, err = pickName(j.o.Name, c); err != nil {
		return err
	}
	return j.notJoined(c)
}

func (j *joining) notJoined(c *config.Config) error {
	m := c.ByID(j.inv.Mesh)
	if m == nil {
		return nil
	}
	return protocol.Refuse(protocol.CodeExists, "this machine is in that mesh already: %s, as %s, since %s", m.Slug, m.Name, m.JoinedAt.Format(time.DateOnly)).
		WithHint("to join with a new key, for example after a removal: claudemesh leave %s, and then join", m.Slug)
}

// makeKey makes the member key and its enrolment, or takes up those of a join by the same link that did not come to its
// end.
func (j *joining) makeKey() error {
	if j.resumed = j.pending != nil; !j.resumed {
		j.pending = &config.Pending{Key: crypto.GenerateKey()}
	}
	var err error
	if j.enrol, err = j.earlierEnrol(); err == nil && j.enrol != nil {
		return nil
	}
	j.enrol, err = protocol.Sign(&protocol.Enrol{
		Mesh: j.inv.Mesh, Link: j.inv.Link, Member: j.pending.Key.Public(), Name: j.o.Name, At: j.o.Now().Unix(),
	}, j.link.Key, j.pending.Key)
	if err != nil {
		return err
	}
	j.pending.Name, j.pending.Enrol = j.o.Name, j.enrol.Text()
	return j.o.Home.SavePending(j.inv.Link, j.pending)
}

// earlierEnrol is the enrolment of the join that is resumed. It is nil if there is none or if it asked for another name.
func (j *joining) earlierEnrol() (*protocol.Statement, error) {
	if !j.resumed || j.pending.Name != j.o.Name {
		return nil, nil
	}
	return protocol.ParseTextIn(j.inv.Mesh, j.pending.Enrol)
}

// ask enrols, which may be repeated, and takes what the broker answers if it is true to the link.
func (j *joining) ask(ctx context.Context, hold time.Duration) error {
	var reply protocol.JoinReply
	err := brokerhttp.For(j.o.Dial, j.o.Now).Post(ctx, j.inv.URL, "/join", "", protocol.JoinRequest{
		Invite: j.link.Invite.Text(), Enrol: j.enrol.Text(), WaitMS: int(hold.Milliseconds()),
	}, &reply)
	if err != nil {
		return explainJoin(err)
	}
	return j.believe(reply.Statements)
}

// believe makes the view of an answer and checks it against the link.
func (j *joining) believe(texts []string) error {
	if len(texts) > maxJoinReplies {
		return protocol.Refuse(protocol.CodeForeign, "the broker answered with %d statements, more than a mesh has", len(texts))
	}
	var charter *protocol.Statement
	var rest []*protocol.Statement
	for _, text := range texts {
		s, err := protocol.ParseTextIn(j.inv.Mesh, text)
		switch {
		case err != nil: // of another mesh, or of a kind that is newer than we: it proves nothing to us
		case s.Kind == protocol.KindCharter:
			charter = s
		case s.Premature(j.o.Now()): // void until then
		default:
			rest = append(rest, s)
		}
	}
	if charter == nil {
		return protocol.Refuse(protocol.CodeForeign, "the broker %s answered without the founding charter that this link's mesh id commits to", protocol.BrokerHost(j.inv.URL)).
			WithHint("it does not have that mesh, or passes another one off as it: ask whoever gave you the link")
	}
	set := protocol.NewSet(charter, protocol.Pins{InviteOwner: j.inv.Owner})
	if _, err := set.Add(rest...); err != nil && protocol.CodeOf(err) != protocol.CodeMeshFull { // what does not fit counts for nothing
		return err
	}
	if err := j.checkView(set.View()); err != nil {
		return err
	}
	j.set = set
	return nil
}

// checkView reports whether the link gets us into the mesh of a view. Once we are certified the link has done its work: it
// may have expired or been closed since.
func (j *joining) checkView(view *protocol.View) error {
	if view.Verified(j.pending.Key.Public()) && slices.Contains(view.Owners(), j.inv.Owner) {
		return nil
	}
	return view.Invited(j.link.Invite, j.enrol, j.o.Now())
}

// explainJoin says what a refusal of a link means and what to do.
func explainJoin(err error) error {
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok || e.Hint != "" {
		return err
	}
	switch e.Code {
	case protocol.CodeUsedUp:
		return e.WithHint("somebody joined with it before you: if that was not you, tell whoever gave it to you; ask for a new link")
	case protocol.CodeClosedLink, protocol.CodeExpired:
		return e.WithHint("ask for a new link")
	case protocol.CodeNotFound:
		return e.WithHint("the broker does not have this mesh: ask whoever gave you the link")
	}
	return err
}

// save writes the membership.
func (j *joining) save() error {
	return j.o.Home.Update(func(c *config.Config) error {
		if err := j.notJoined(c); err != nil {
			return err
		}
		view := j.set.View()
		key := j.pending.Key
		j.member = config.Membership{
			Slug:   c.FreeSlug(view.Charter().Body.(*protocol.Charter).Slug),
			MeshID: j.inv.Mesh, Name: j.pending.Name, Key: key,
			BrokerURL: j.inv.URL, JoinedAt: j.o.Now(), Charter: view.Charter().Text(),
			Invite: j.link.Invite.Text(), Enrol: j.enrol.Text(), Log: ownersOf(view), Insecure: j.o.Insecure,
		}
		j.takeCert(&j.member)
		c.Add(j.member)
		return nil
	})
}

// ownersOf are the hand-overs up to the owner that the link names: the daemon believes in them before it hears the broker.
// Everything else it downloads.
func ownersOf(view *protocol.View) []string {
	var texts []string
	for _, s := range view.Statements() {
		if s.Kind == protocol.KindOwner {
			texts = append(texts, s.Text())
		}
	}
	return texts
}

// takeCert puts our certificate into m, if there is one in the view.
func (j *joining) takeCert(m *config.Membership) bool {
	me, ok := j.set.View().Member(m.Key.Public())
	if !ok {
		return false
	}
	for _, s := range j.set.View().Statements() {
		if s.ID == me.Cert {
			m.Cert, m.Name = s.Text(), me.Name
			return true
		}
	}
	return false
}

// awaitCert waits until the issuer's daemon has admitted us, or the time is over.
func (j *joining) awaitCert(ctx context.Context) error {
	j.trust = protocol.TrustInvited
	if j.member.Cert == "" && j.inv.Role == protocol.RoleAdmin {
		j.reason = "an admin is admitted by the mesh's owner by hand: claudemesh members admit " + j.member.Name
		return nil
	}
	until := time.Now().Add(j.o.WaitVerified)
	for j.member.Cert == "" {
		hold := min(time.Until(until), maxHold)
		if hold <= 0 || ctx.Err() != nil {
			j.reason = j.unanswered()
			return nil
		}
		asked := time.Now()
		if err := j.ask(ctx, hold); err != nil {
			if refused(err) {
				return errors.Join(err, j.forget())
			}
			j.reason = fmt.Sprintf("waiting for the certificate: %v", err)
			return nil
		}
		if j.takeCert(&j.member) {
			break
		}
		if time.Since(asked) < betweenAsking {
			pause(ctx, min(betweenAsking, time.Until(until)))
		}
	}
	j.trust = protocol.TrustVerified
	return j.o.Home.Update(func(c *config.Config) error {
		if m := c.ByID(j.member.MeshID); m != nil {
			m.Cert, m.Name = j.member.Cert, j.member.Name
		}
		return nil
	})
}

// refused reports whether the link admits us neither now nor later, as when its last use was somebody else's.
func refused(err error) bool {
	return !brokerhttp.Unsent(err) && leavesNothing(err)
}

// forget takes the membership out of config.json again.
func (j *joining) forget() error {
	return j.o.Home.Update(func(c *config.Config) error {
		if m := c.ByID(j.member.MeshID); m != nil {
			c.Remove(m.Slug)
		}
		return nil
	})
}

// unanswered explains what it means to be invited.
func (j *joining) unanswered() string {
	issuer := "the member who made the link"
	if m, ok := j.set.View().Member(j.inv.Issuer); ok {
		issuer = m.Name
	}
	return fmt.Sprintf("%s's daemon has to be online to admit you; until then you can be written to by name only, and what you write waits to be looked at", issuer)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
