package cli

import (
	"context"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func statusVerb() *verb {
	return &verb{
		name: "status", heading: headPeople, usage: "one overview: daemon, meshes, who is online, what is unread",
		flags: []urfave.Flag{jsonFlag()}, about: "It changes nothing and starts nothing.",
		examples: []string{"claudemesh status", "claudemesh status --json"},
		run:      runStatus,
		subs:     []*verb{statusSetVerb()},
	}
}

// overviewStatus is what `status --json` prints.
type overviewStatus struct {
	Daemon daemonStatus        `json:"daemon"`
	Meshes []protocol.MeshInfo `json:"meshes"`
	Peers  int                 `json:"peers_online"`
	Unread int                 `json:"unread"` // seen by nobody
	Unseen int                 `json:"unseen"` // seen by no person: those, and what only sessions saw
	Self   []protocol.WhoAmI   `json:"self"`

	Sessions []protocol.SessionInfo `json:"sessions"`

	PeersUnknown []string `json:"peers_unknown,omitempty"` // meshes that are not connected: who is online there is not known
}

func runStatus(ctx context.Context, c *call) error {
	home, err := config.FindHome()
	if err != nil {
		return err
	}
	st, err := probe(ctx, home)
	if err != nil {
		return c.statusWithoutDaemon(home, st, err)
	}
	o, err := gatherStatus(ctx, client.Dial(home), st)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(o)
		return nil
	}
	c.printDaemon(st)
	for _, w := range o.Self {
		c.sayWho(w)
	}
	if len(o.Self) == 0 {
		c.say("no mesh joined yet: claudemesh create <slug>, or claudemesh join <link>")
	}
	c.say("%s, %s", onlineWords(o), unreadWords(o))
	for _, s := range o.Sessions {
		c.sayWaiting(s)
	}
	return nil
}

// sayWho says what this member is in a mesh, or that it is none any more.
func (c *call) sayWho(w protocol.WhoAmI) {
	if w.Reason != "" {
		c.say("you were %s in %s: %s", c.paint(bold, who(w.Name, w.Session)), w.Mesh, clean(w.Reason))
		return
	}
	c.say("you are %s in %s (%s, %s)", c.paint(bold, who(w.Name, w.Session)), w.Mesh, w.Role, w.Trust)
}

// onlineWords count who is online, of the meshes of which that is known.
func onlineWords(o overviewStatus) string {
	words := plural(o.Peers, "other peer") + " online"
	switch {
	case len(o.PeersUnknown) == 0:
	case len(o.PeersUnknown) == len(o.Meshes):
		words = "who is online is not known: not connected"
	default:
		words += ", not counting " + listAnd(o.PeersUnknown) + ", which is not connected"
	}
	return words
}

// unreadWords count what nobody saw, and what only sessions saw.
func unreadWords(o overviewStatus) string {
	words := plural(o.Unread, "message") + " unread"
	if n := o.Unseen - o.Unread; n > 0 {
		words += fmt.Sprintf(", %d more that only sessions saw", n)
	}
	return words
}

// sayWaiting tells what does not come in front of a session, and why.
func (c *call) sayWaiting(s protocol.SessionInfo) {
	if s.Status == protocol.StatusWaiting {
		c.say("%s", c.paint(yellow, waitsForYou([]string{s.Label})))
	}
	if s.Held > 0 {
		c.say("%s: %s held until you accept the sender: claudemesh accept <peer>", clean(s.Label), plural(s.Held, "message"))
	}
	for _, why := range s.Guarded {
		c.say("%s: %s", clean(s.Label), clean(why))
	}
}

// statusWithoutDaemon tells what the files alone can tell, and fails with code 4.
func (c *call) statusWithoutDaemon(home config.Home, st daemonStatus, cause error) error {
	cfg, err := home.Load()
	if err != nil {
		return err
	}
	meshes := []protocol.MeshInfo{}
	for _, m := range cfg.Meshes {
		meshes = append(meshes, protocol.MeshInfo{Mesh: m.Slug, MeshID: string(m.MeshID), Broker: m.BrokerURL, Name: m.Name,
			Pubkey: m.Key.Public().String(), Default: m.Slug == cfg.DefaultMesh, Inbound: m.Inbound, Receipts: m.Receipts})
	}
	e := classify(cause)
	if c.json {
		c.printJSON(overviewStatus{Daemon: st, Meshes: meshes, Self: []protocol.WhoAmI{}, Sessions: []protocol.SessionInfo{}})
		return saidError{e}
	}
	for _, m := range meshes {
		c.say("%s: joined as %s, not connected", m.Mesh, clean(m.Name))
	}
	return e
}

func gatherStatus(ctx context.Context, cl *client.Client, st daemonStatus) (o overviewStatus, err error) {
	o.Daemon = st
	if o.Meshes, err = cl.Meshes(ctx); err != nil {
		return o, err
	}
	if o.Self, err = cl.WhoAmI(ctx, ""); err != nil {
		return o, err
	}
	peers, err := cl.Peers(ctx, "")
	if err != nil {
		return o, err
	}
	open := make(map[string]bool)
	for _, m := range o.Meshes {
		if open[m.Mesh] = m.State == protocol.ConnOpen; !open[m.Mesh] {
			o.PeersUnknown = append(o.PeersUnknown, m.Mesh)
		}
	}
	for _, p := range peers {
		if !p.Self && open[p.Mesh] {
			o.Peers++
		}
	}
	sessions, err := cl.Sessions(ctx)
	if err != nil {
		return o, err
	}
	o.Sessions = list(sessions)
	unseen, err := cl.Inbox(ctx, protocol.InboxQuery{Unseen: true, Brief: true, Limit: maxUnread})
	for _, m := range unseen {
		o.Unseen++
		if len(m.SeenBy) == 0 {
			o.Unread++
		}
	}
	o.Meshes, o.Self = list(o.Meshes), list(o.Self)
	return o, err
}

// maxUnread bounds how many unread messages `status` counts.
const maxUnread = 1000
