package cli

import (
	"context"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

func askVerb() *verb {
	return &verb{
		name: "ask", heading: headMemory, usage: "ask the mesh who has solved this before; their machines answer", args: "<question…>", min: 0, max: -1,
		flags: []urfave.Flag{
			&urfave.StringSliceFlag{Name: "term", Usage: "an error message, an identifier or a synonym: `TEXT`; may be repeated"},
			&urfave.StringFlag{Name: "to", Usage: "ask only `NAME` or @group"},
			&urfave.StringFlag{Name: "wait", Usage: "wait at most `TIME` for answers", Value: "8s"},
			&urfave.StringFlag{Name: "about", Usage: "ask who made the offer `ID` about it"},
			&urfave.BoolFlag{Name: "follow", Usage: "stay, and print answers that come later"},
			meshFlag(), sessionFlag(), jsonFlag(),
		},
		about: "The question goes sealed to all verified members. Their daemons search what their sessions learned, without a model and without\n" +
			"disturbing anybody, and offer what fits if their users allowed that. Your own memory comes first. It exits with 5 when nobody knew.",
		examples: []string{`claudemesh ask "stripe webhook signature 400" --term "No signatures found"`, `claudemesh ask "how is staging restored" --to @ops --wait 20s`},
		run:      runAsk,
		subs: []*verb{
			{name: "log", usage: "list your questions and who answered", flags: []urfave.Flag{&urfave.IntFlag{Name: "limit", Usage: "at most `N`", Value: 20}, jsonFlag()}, run: runAskLog},
			{name: "rate", usage: "say what an answer was worth; it stays on this machine and moves that person's rank", args: "<offer> <useful|wrong>", min: 2, max: 2,
				flags: []urfave.Flag{jsonFlag()}, examples: []string{"claudemesh ask rate 7HQX2A useful"}, run: runAskRate},
		},
	}
}

func runAsk(ctx context.Context, c *call) error {
	wait, err := c.duration("wait")
	if err != nil {
		return err
	}
	req := protocol.AskRequest{Mesh: c.str("mesh"), Question: c.rest(0), Terms: c.flags.StringSlice("term"), To: c.str("to"), About: c.str("about"), WaitMS: int(wait.Milliseconds())}
	if req.Question == "" {
		return protocol.Refuse(protocol.CodeInvalid, "no question").WithHint(`claudemesh ask "stripe webhook signature 400"`)
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if req.Session, err = c.acting(ctx, cl); err != nil {
		return err
	}
	got, err := cl.Ask(ctx, req)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(got)
	} else {
		c.printAnswers(&got)
	}
	if c.yes("follow") && got.ID != "" {
		return c.followAsk(ctx, cl, &got)
	}
	if len(got.Own) == 0 && len(got.Answers) == 0 && !pendingOffer(got.Offers) {
		return exitStatus(exitNotFound)
	}
	return nil
}

func pendingOffer(offers []protocol.AskOffer) bool {
	for _, o := range offers {
		if o.Status == "pending" {
			return true
		}
	}
	return false
}

func (c *call) printAnswers(got *protocol.AskReply) {
	now := time.Now()
	for _, h := range got.Own {
		c.say("%s", strings.Join(append([]string{c.paint(bold, "you")}, hitHead(c, &h, now)[1:]...), " · "))
		c.indent(h.Excerpt)
	}
	for _, a := range got.Answers {
		c.printAnswer(&a, now)
	}
	for _, o := range got.Offers {
		if words := offerWords(&o, now); words != "" {
			c.say("%s", words)
		}
	}
	if len(got.Answers) > 0 {
		return
	}
	switch {
	case got.People == 0:
		c.note("nobody else is in the mesh")
	case len(got.Offers) == 0:
		c.note("%s asked, %d online: nobody offers an answer. The question stays open for 24 hours.", plural(got.People, "member"), got.Online)
	}
}

func (c *call) printAnswer(a *protocol.AskAnswer, now time.Time) {
	head := []string{c.paint(bold, clean(a.From))}
	for _, w := range []string{a.Project, a.Title, a.Branch} {
		if w != "" {
			head = append(head, clean(w))
		}
	}
	if a.At != "" && !a.Composed {
		head = append(head, agoText(a.At, now))
	}
	if a.Changed > 0 {
		head = append(head, changedWords(a.Changed))
	}
	if a.Composed {
		head = append(head, "composed by a model from "+clean(a.From)+"'s sessions")
	} else {
		head = append(head, "quotation")
	}
	c.say("%s", strings.Join(append(head, "offer "+shortID(a.Offer)), " · "))
	c.indent(a.Text)
}

// changedWords say that an episode may be out of date.
func changedWords(n int) string { return plural(n, "file") + " changed since" }

// offerWords tell of an offer that has no answer here.
func offerWords(o *protocol.AskOffer, now time.Time) string {
	what := clean(o.From) + " has something"
	if o.Title != "" {
		what = clean(o.From) + " has " + clean(o.Title)
	}
	if o.Project != "" {
		what += " in " + clean(o.Project)
	}
	if o.At != "" {
		what += ", " + agoText(o.At, now)
	}
	switch o.Status {
	case "pending":
		return what + "; " + clean(o.From) + " is asked whether you may see it"
	case "refused":
		return what + ", and does not share it"
	case "spent":
		return what + "; you have had all of today, or of this month, that one person gets"
	case "gone", "failed":
		return what + ", and it could not be had"
	case "fetched":
		return what + "; it is on its way"
	}
	return ""
}

func (c *call) indent(text string) {
	for l := range strings.SplitSeq(cleanText(text), "\n") {
		c.say("    %s", l)
	}
}

const askPoll = time.Second // how often --follow looks

// followAsk prints answers as they come, until the question closes or the user ends it.
func (c *call) followAsk(ctx context.Context, cl *client.Client, got *protocol.AskReply) error {
	seen := len(got.Answers)
	for pauseFor(ctx, askPoll) {
		a, err := cl.Asked(ctx, got.ID)
		if err != nil {
			return err
		}
		for _, x := range a.Answers[min(seen, len(a.Answers)):] {
			if c.json {
				c.printJSON(x)
			} else {
				c.printAnswer(&x, time.Now())
			}
		}
		seen = max(seen, len(a.Answers))
		if till, err := time.Parse(time.RFC3339, a.OpenTill); err == nil && time.Now().After(till) {
			return nil
		}
	}
	return nil
}

func runAskLog(ctx context.Context, c *call) error {
	limit, err := c.positive("limit")
	if err != nil {
		return err
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	all, err := cl.Asks(ctx, limit)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(all))
		return nil
	}
	if len(all) == 0 {
		c.note("nothing was asked")
	}
	now := time.Now()
	for _, a := range all {
		c.say("%s · %s · %s · %s asked, %s, %s", c.paint(bold, shortID(a.ID)), a.Mesh, agoText(a.AskedAt, now), plural(a.People, "member"),
			plural(len(a.Offers), "offer"), plural(len(a.Answers), "answer"))
		c.say("    %s", clean(a.Question))
		for _, x := range a.Answers {
			c.say("    from %s: offer %s", clean(x.From), shortID(x.Offer))
		}
	}
	return nil
}

func runAskRate(ctx context.Context, c *call) error {
	if c.arg(1) != "useful" && c.arg(1) != "wrong" {
		return protocol.Refuse(protocol.CodeInvalid, "an answer is useful or wrong, not %q", c.arg(1))
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if err := cl.RateAnswer(ctx, protocol.AskRateRequest{Offer: c.arg(0), Useful: c.arg(1) == "useful"}); err != nil {
		return err
	}
	return c.done("noted; it stays on this machine")
}
