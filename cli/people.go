package cli

import (
	"cmp"
	"context"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

func peersVerb() *verb {
	return &verb{
		name: "peers", heading: headPeople, usage: "who is there: the live sessions of your meshes",
		flags:    []urfave.Flag{meshFlag(), jsonFlag()},
		examples: []string{"claudemesh peers", "claudemesh peers --mesh acme --json"},
		run:      runPeers,
	}
}

func peerVerb() *verb {
	list := peersVerb()
	list.name, list.heading = "list", ""
	list.examples = []string{"claudemesh peer list"}
	return &verb{name: "peer", heading: headPeople, usage: "single peers: verify, ping, block, remove", subs: append([]*verb{list, verifyVerb(), pingVerb(), kickVerb(), banVerb(), unbanVerb(), bansVerb()}, grantVerbs()...)}
}

func runPeers(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	h, err := settled(ctx, cl)
	if err != nil {
		return err
	}
	peers, err := cl.Peers(ctx, c.str("mesh"))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(peers))
	} else {
		c.printPeers(peers)
	}
	return c.wholeTruth(h, c.str("mesh"))
}

func (c *call) printPeers(peers []protocol.PeerInfo) {
	if len(peers) == 0 {
		c.note("nobody is online")
		return
	}
	var rows [][]string
	listed := make(map[string]int)
	for _, p := range peers {
		if listed[p.MemberPubkey]++; listed[p.MemberPubkey] > sessionsShown {
			continue
		}
		rows = append(rows, []string{who(p.Name, p.Session) + selfMark(p.Self), p.Mesh, clean(p.Status), string(p.Trust), p.Pubkey[:min(8, len(p.Pubkey))],
			groupWords(p.Groups), clean(cmp.Or(p.Summary, place(p)))})
	}
	c.table([]string{"PEER", "MESH", "STATUS", "TRUST", "KEY", "GROUPS", "DOING"}, rows)
	for _, p := range peers {
		if n := listed[p.MemberPubkey] - sessionsShown; n > 0 {
			listed[p.MemberPubkey] = 0
			c.note("%s of %s in %s are not listed: claudemesh peers --json lists all", plural(n, "more session"), clean(p.Name), p.Mesh)
		}
	}
}

// sessionsShown is how many sessions of one person in a mesh peers lists, so that those of others stay in sight.
const sessionsShown = 20

func selfMark(self bool) string {
	if self {
		return " (you)"
	}
	return ""
}

// place says where a session without a summary works.
func place(p protocol.PeerInfo) string {
	return strings.Trim(p.Hostname+":"+p.Cwd, ":")
}

func membersVerb() *verb {
	return &verb{
		name: "members", heading: headPeople, usage: "everybody who belongs to your meshes, online or not",
		flags:    []urfave.Flag{meshFlag(), jsonFlag()},
		examples: []string{"claudemesh members", "claudemesh members --json", "claudemesh members admit cathy"},
		run:      runMembers,
		subs:     []*verb{admitVerb()},
	}
}

func runMembers(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	h, err := settled(ctx, cl)
	if err != nil {
		return err
	}
	members, err := cl.Members(ctx, c.str("mesh"))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(members))
	} else {
		c.printMembers(members)
	}
	return c.wholeTruth(h, c.str("mesh"))
}

func (c *call) printMembers(members []protocol.MemberInfo) {
	if len(members) == 0 {
		c.note("no members: join a mesh first")
		return
	}
	var rows [][]string
	for _, m := range members {
		trust := string(m.Trust)
		if m.InPerson {
			trust += ", in person"
		}
		rows = append(rows, []string{clean(m.Name) + selfMark(m.Self), m.Mesh, m.Role, trust, online(m), m.Pubkey[:min(8, len(m.Pubkey))], clean(m.Note)})
	}
	c.table([]string{"MEMBER", "MESH", "ROLE", "TRUST", "SEEN", "KEY", ""}, rows)
}

func online(m protocol.MemberInfo) string {
	switch {
	case m.Online && m.Sessions > 0:
		return "online, " + plural(m.Sessions, "session")
	case m.Online:
		return "online, no session"
	}
	return strings.TrimPrefix(seen(m.LastSeen, time.Now()), "last seen ")
}

func whoamiVerb() *verb {
	return &verb{
		name: "whoami", heading: headPeople, usage: "your names, keys and fingerprints",
		flags:    []urfave.Flag{meshFlag(), sessionFlag(), jsonFlag()},
		examples: []string{"claudemesh whoami"},
		run:      runWhoAmI,
	}
}

func runWhoAmI(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	session, err := c.acting(ctx, cl)
	if err != nil {
		return err
	}
	all, err := cl.WhoAmI(ctx, session)
	if err != nil {
		return err
	}
	mine := []protocol.WhoAmI{}
	for _, w := range all {
		if mesh := c.str("mesh"); mesh == "" || mesh == w.Mesh {
			mine = append(mine, w)
		}
	}
	if c.json {
		c.printJSON(mine)
		return nil
	}
	if len(mine) == 0 {
		c.note("no mesh joined yet")
	}
	for _, w := range mine {
		c.say("%s in %s (%s, %s)", c.paint(bold, who(w.Name, w.Session)), w.Mesh, w.Role, w.Trust)
		c.say("    key          %s", w.Pubkey)
		if w.SessionKey != "" {
			c.say("    session key  %s", w.SessionKey)
		}
		c.say("    fingerprint  %s", w.Fingerprint)
		if len(w.Groups) > 0 {
			c.say("    groups       %s", groupWords(w.Groups))
		}
	}
	return nil
}
