package cli

import (
	"context"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

func inboxVerb() *verb {
	narrow := func(more ...urfave.Flag) []urfave.Flag { return append(more, meshFlag(), sessionFlag(), jsonFlag()) }
	return &verb{
		name: "inbox", heading: headTalk, usage: "list what arrived and no person has read yet, newest first",
		flags: narrow(append(filterFlags(),
			&urfave.BoolFlag{Name: "all", Usage: "list what was read, too"},
			&urfave.BoolFlag{Name: "unseen", Usage: "list what no person has read, also in a session, which lists its own unread mail"},
			&urfave.BoolFlag{Name: "unread", Usage: "list only what no session was shown either"},
			&urfave.BoolFlag{Name: "follow", Usage: "stay, and print each message as it arrives"},
			&urfave.IntFlag{Name: "limit", Usage: "list at most `N` messages", Value: 100},
		)...),
		about: "Listing marks nothing as read. Each message says who saw it: a session of yours that was shown or read it, or you. What a session\n" +
			"saw stays in your list until you answer it or mark it as read.",
		examples: []string{"claudemesh inbox", "claudemesh inbox --follow --json", "claudemesh inbox --all --from bob --since 7d --search deploy", "claudemesh inbox read 7HqX2a1b", "claudemesh inbox flush --older 30d"},
		run:      runInbox,
		subs: []*verb{
			inboxShowVerb(), inboxSaveVerb(),
			{name: "read", usage: "mark messages as read; their senders are told", args: "<id…|all>", min: 1, max: -1, flags: narrow(),
				examples: []string{"claudemesh inbox read 7HqX2a1b", "claudemesh inbox read all --mesh acme"},
				run: func(ctx context.Context, c *call) error {
					return c.changeInbox(ctx, "marked %s as read", (*client.Client).MarkRead)
				}},
			{name: "delete", usage: "delete messages from this machine", args: "<id…|all>", min: 1, max: -1, flags: narrow(),
				examples: []string{"claudemesh inbox delete 7HqX2a1b"},
				run: func(ctx context.Context, c *call) error {
					return c.changeInbox(ctx, "deleted %s", (*client.Client).DeleteMessages)
				}},
			{name: "flush", usage: "delete old messages from this machine that you have read", min: 0, max: 0,
				flags: []urfave.Flag{
					&urfave.StringFlag{Name: "older", Usage: "delete what is older than `TIME`", Value: "30d"},
					&urfave.BoolFlag{Name: "unread", Usage: "delete what no person has read, too; needs --yes"},
					&urfave.BoolFlag{Name: "yes", Usage: "with --unread: yes, delete messages that nobody may have read"},
					meshFlag(), jsonFlag(),
				},
				examples: []string{"claudemesh inbox flush --older 7d", "claudemesh inbox flush --older 90d --unread --yes"}, run: runFlush},
		},
	}
}

func runInbox(ctx context.Context, c *call) error {
	limit, err := c.positive("limit")
	if err != nil {
		return err
	}
	if err := c.onlyOne("all", "unseen", "unread"); err != nil {
		return err
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	filter, err := c.mailFilter(time.Now())
	if err != nil {
		return err
	}
	q := protocol.InboxQuery{Mesh: c.str("mesh"), All: c.yes("all"), Unseen: c.yes("unseen"), Unread: c.yes("unread"), Limit: limit}
	if q.Session, err = c.acting(ctx, cl); err != nil {
		return err
	}
	if c.yes("follow") {
		return c.follow(ctx, cl, q, filter)
	}
	if !filter.empty() {
		q.Limit = wholeInbox
	}
	mail := filter.pick(cl.Mail(ctx, q), limit)
	if c.json {
		return printEach(c, mail)
	}
	none := true
	for m, err := range mail {
		if err != nil {
			return err
		}
		none = false
		c.printMessage(&m)
		if err := c.written(); err != nil {
			return err
		}
	}
	if none {
		c.note("no %s", map[bool]string{true: "messages", false: "unread messages"}[q.All])
	}
	return nil
}

// printMessage prints one message: who, how much he is believed, when, and the text indented below.
func (c *call) printMessage(m *protocol.InboxMessage) {
	c.say("%s", c.messageHead(m))
	if m.Alarm != "" {
		c.say("    %s", c.paint(red, "not opened: "+clean(m.Alarm)))
		return
	}
	for _, words := range flagged(m) {
		c.say("    %s", c.paint(yellow, words))
	}
	if m.Body != "" || len(m.Files) == 0 {
		for l := range strings.SplitSeq(strings.TrimSuffix(cleanText(m.Body), "\n"), "\n") {
			c.say("    %s", l)
		}
	}
	for _, l := range fileLines(m.ID, m.Files) {
		c.say("    %s", l)
	}
}

func (c *call) messageHead(m *protocol.InboxMessage) string {
	head := []string{c.paint(bold, shortID(m.ID)), c.from(m), m.Mesh, ago(m.ReceivedAt, time.Now())}
	if strings.HasPrefix(m.To, "@") || m.To == "*" {
		head = append(head, "to "+clean(m.To))
	}
	if m.Priority == protocol.PriorityNow {
		head = append(head, c.paint(yellow, "now"))
	}
	head = append(head, seenWords(m.SeenBy)...)
	if m.ReplyTo != "" {
		head = append(head, "answers "+shortID(m.ReplyTo))
	}
	return strings.Join(head, " · ")
}

// flagged says why a message is held, and what the daemon noticed of it.
func flagged(m *protocol.InboxMessage) (words []string) {
	if m.Held != "" {
		words = append(words, "held: "+clean(m.Held))
	}
	for _, f := range m.Flags {
		if flagWords[f] != "" {
			words = append(words, flagWords[f])
		}
	}
	return words
}

// seenWords say who saw a message: "shown to api", "read by api", "read by you".
func seenWords(all []protocol.SeenBy) (words []string) {
	for _, s := range all {
		switch {
		case s.By == protocol.SeenByPerson:
			words = append(words, "read by you")
		case s.State == protocol.StateRead:
			words = append(words, "read by "+clean(s.Session))
		default:
			words = append(words, "shown to "+clean(s.Session))
		}
	}
	return words
}

// flagWords explain what the daemon noticed of a message that it could not refuse.
var flagWords = map[string]string{
	"cloned": "beware: two homes send with these keys",
}

// from names the sender, with what is known of him unless he is verified.
func (c *call) from(m *protocol.InboxMessage) string {
	name := who(m.From.Name, m.From.Session)
	if name == "" {
		name = shortID(m.From.Pubkey)
	}
	switch m.From.Trust {
	case protocol.TrustVerified:
		return c.paint(green, name)
	case protocol.TrustAlarm:
		return c.paint(red, "claims to be "+name)
	}
	return c.paint(yellow, name+" ("+string(m.From.Trust)+")")
}

// change is a client's method that changes inbox rows and says how many.
type change func(*client.Client, context.Context, protocol.InboxChange) (int, error)

// changeInbox marks or deletes the messages that the arguments name.
func (c *call) changeInbox(ctx context.Context, did string, change change) error {
	req := protocol.InboxChange{IDs: c.args, Mesh: c.str("mesh")}
	if len(c.args) == 1 && c.args[0] == "all" {
		req.IDs, req.All = nil, true
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if req.Session, err = c.acting(ctx, cl); err != nil {
		return err
	}
	n, err := change(cl, ctx, req)
	if err != nil {
		return err
	}
	return c.counted(did, n)
}

func runFlush(ctx context.Context, c *call) error {
	older, err := c.duration("older")
	if err != nil {
		return err
	}
	if c.yes("unread") && !c.yes("yes") {
		return protocol.Refuse(protocol.CodeInvalid, "--unread deletes messages that nobody may have read").
			WithHint("claudemesh inbox --unread lists them; add --yes to delete them")
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	done, err := cl.FlushInbox(ctx, protocol.InboxFlush{Mesh: c.str("mesh"), Before: time.Now().Add(-older).UTC(), Unread: c.yes("unread")})
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(done)
		return nil
	}
	c.say("deleted %s", plural(done.Count, "message"))
	if done.Kept > 0 {
		c.note("kept %s that you have not read; claudemesh inbox lists what is unread", plural(done.Kept, "message"))
	}
	return nil
}

func (c *call) counted(did string, n int) error {
	if c.json {
		c.printJSON(protocol.CountReply{OK: true, Count: n})
		return nil
	}
	c.say(did, plural(n, "message"))
	return nil
}
