package cli

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

func knowledgeVerb() *verb {
	return &verb{
		name: "knowledge", heading: headMemory, usage: "what peers may learn from your sessions, and what left",
		subs: []*verb{
			{name: "share", usage: "let peers' questions be answered from the sessions in a directory", args: "[dir]", min: 0, max: 1,
				flags: []urfave.Flag{
					&urfave.BoolFlag{Name: "all", Usage: "sessions of all projects"},
					&urfave.StringSliceFlag{Name: "with", Usage: "only `NAME`; may be repeated"},
					&urfave.StringFlag{Name: "level", Usage: "hint: that you know something, and when; excerpt: the passages that match; answer: also composed answers; none: keep this project back", Value: "excerpt"},
					meshFlag(), jsonFlag(),
				},
				about: "Nothing is shared before this. The most specific rule decides: a directory before all, people before everybody. Secrets are removed\n" +
					"before anything leaves, and knowledge log shows every byte that left.",
				examples: []string{"claudemesh knowledge share ~/work/payments", "claudemesh knowledge share --all --with bob --level hint", "claudemesh knowledge share ~/work/secret --level none"},
				run:      runKnowledgeShare},
			{name: "unshare", usage: "take a sharing back", args: "[dir]", min: 0, max: 1,
				flags:    []urfave.Flag{&urfave.BoolFlag{Name: "all", Usage: "everything that is shared with the mesh"}, meshFlag(), jsonFlag()},
				examples: []string{"claudemesh knowledge unshare ~/work/payments", "claudemesh knowledge unshare --all"}, run: runKnowledgeUnshare},
			{name: "status", usage: "what is shared, with whom, and what waits for you", flags: []urfave.Flag{jsonFlag()}, run: runKnowledgeStatus},
			{name: "log", usage: "what peers asked, what matched, and what left", flags: []urfave.Flag{&urfave.IntFlag{Name: "limit", Usage: "at most `N`", Value: 20}, jsonFlag()},
				run: runKnowledgeLog, subs: []*verb{
					{name: "show", usage: "print exactly the bytes that left", args: "<n>", min: 1, max: 1, flags: []urfave.Flag{jsonFlag()},
						examples: []string{"claudemesh knowledge log show 12"}, run: runKnowledgeLogShow},
				}},
			{name: "requests", usage: "list follow-ups that wait for your decision", flags: []urfave.Flag{jsonFlag()}, run: runKnowledgeRequests, subs: []*verb{
				{name: "approve", usage: "send what was asked for", args: "<id>", min: 1, max: 1,
					flags:    []urfave.Flag{&urfave.BoolFlag{Name: "always", Usage: "and from now on for this person and these projects"}, jsonFlag()},
					examples: []string{"claudemesh knowledge requests approve 7HQX2A"}, run: func(ctx context.Context, c *call) error { return c.decide(ctx, true) }},
				{name: "deny", usage: "send nothing, and say so", args: "<id>", min: 1, max: 1, flags: []urfave.Flag{jsonFlag()},
					examples: []string{"claudemesh knowledge requests deny 7HQX2A"}, run: func(ctx context.Context, c *call) error { return c.decide(ctx, false) }},
			}},
		},
	}
}

// dirOrAll reads the directory of a rule: the argument, or nothing with --all. The working directory
// is not a default, so that nobody shares a project by standing in it.
func (c *call) dirOrAll() (string, error) {
	switch {
	case c.arg(0) != "" && c.yes("all"):
		return "", protocol.Refuse(protocol.CodeInvalid, "a directory or --all, not both")
	case c.yes("all"):
		return "", nil
	case c.arg(0) == "":
		return "", protocol.Refuse(protocol.CodeInvalid, "which sessions?").WithHint("name a directory (. for this one), or --all")
	}
	return filepath.Abs(c.arg(0))
}

func runKnowledgeShare(ctx context.Context, c *call) error {
	dir, err := c.dirOrAll()
	if err != nil {
		return err
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	rule, err := cl.ShareKnowledge(ctx, protocol.KnowledgeShareRequest{Mesh: c.str("mesh"), Dir: dir, With: c.flags.StringSlice("with"), Level: c.str("level")})
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(rule)
		return nil
	}
	c.say("%s", ruleWords(&rule))
	return nil
}

func ruleWords(r *protocol.KnowledgeRule) string {
	what, with := "all projects", "every verified member"
	if r.Dir != "" {
		what = clean(tilde(r.Dir))
	}
	if len(r.With) > 0 {
		with = clean(listAnd(r.With))
	}
	if r.Level == "none" {
		return what + " is kept back from " + with + " of " + r.Mesh
	}
	return what + ": " + with + " of " + r.Mesh + " may get " + map[string]string{"hint": "hints", "excerpt": "excerpts", "answer": "excerpts and composed answers"}[r.Level]
}

func runKnowledgeUnshare(ctx context.Context, c *call) error {
	req := protocol.KnowledgeUnshareRequest{Mesh: c.str("mesh"), All: c.yes("all")}
	var err error
	if req.Dir, err = c.dirOrAll(); err != nil {
		return err
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	gone, err := cl.UnshareKnowledge(ctx, req)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(gone)
		return nil
	}
	return c.done("%s removed", plural(gone.Removed, "rule"))
}

func runKnowledgeStatus(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	rules, err := cl.Knowledge(ctx)
	if err != nil {
		return err
	}
	open, err := cl.KnowledgeRequests(ctx)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(struct {
			Rules    []protocol.KnowledgeRule `json:"rules"`
			Requests []protocol.KnowledgeAsk  `json:"requests"`
		}{list(rules), list(open)})
		return nil
	}
	if len(rules) == 0 {
		c.say("nothing is shared: questions of peers meet silence")
	}
	for _, r := range rules {
		c.say("%s", ruleWords(&r))
	}
	if len(open) > 0 {
		c.say("%s for your decision: claudemesh knowledge requests", plural(len(open), "request")+map[bool]string{true: " waits", false: " wait"}[len(open) == 1])
	}
	return nil
}

func runKnowledgeLog(ctx context.Context, c *call) error {
	limit, err := c.positive("limit")
	if err != nil {
		return err
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	all, err := cl.KnowledgeLog(ctx, limit)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(all))
		return nil
	}
	if len(all) == 0 {
		c.note("nothing left: no peer asked what this machine has an answer to and may tell")
	}
	now := time.Now()
	for _, e := range all {
		c.say("%s · %s · %s in %s asked %q", c.paint(bold, strconv.FormatUint(e.N, 10)), agoText(e.At, now), clean(e.Name), e.Mesh, clean(e.Question))
		c.say("    %s", entryWords(&e))
	}
	return nil
}

func entryWords(e *protocol.KnowledgeEntry) string {
	switch e.What {
	case "nothing":
		return "nothing left: " + clean(e.Reason)
	case "bid":
		return "offered " + plural(len(e.Matched), "episode") + " by title and date; " + plural(e.Bytes, "byte") + " left"
	}
	words := []string{"answered with " + e.Level + ", " + e.Status + "; " + plural(e.Bytes, "byte") + " left"}
	if e.Cost > 0 {
		words = append(words, "it cost $"+strconv.FormatFloat(e.Cost, 'f', 4, 64))
	}
	return strings.Join(words, "; ")
}

func runKnowledgeLogShow(ctx context.Context, c *call) error {
	n, err := strconv.ParseUint(c.arg(0), 10, 64)
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "%q is no number of the log", c.arg(0)).WithHint("claudemesh knowledge log")
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	e, err := cl.KnowledgeEntry(ctx, n)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(e)
		return nil
	}
	c.say("%s", cleanText(e.Sent))
	return nil
}

func runKnowledgeRequests(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	open, err := cl.KnowledgeRequests(ctx)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(open))
		return nil
	}
	if len(open) == 0 {
		c.note("no request waits")
	}
	now := time.Now()
	for _, r := range open {
		c.say("%s · %s in %s asked %s: %q", c.paint(bold, shortID(r.ID)), clean(r.Name), r.Mesh, agoText(r.At, now), clean(r.Question))
		c.say("    would be sent:")
		c.indent(r.Would)
	}
	return nil
}

func (c *call) decide(ctx context.Context, approve bool) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	req := protocol.KnowledgeDecision{Approve: approve}
	if approve {
		req.Always = c.yes("always")
	}
	r, err := cl.DecideKnowledge(ctx, c.arg(0), req)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(r)
		return nil
	}
	if approve {
		return c.done("%s gets it", clean(r.Name))
	}
	return c.done("%s is told that it is not shared", clean(r.Name))
}
