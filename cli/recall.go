package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/recall/source"
)

func recallVerb() *verb {
	return &verb{
		name: "recall", heading: headMemory, usage: "find what your own sessions learned: problem, cause, fix", args: "<question…>", min: 0, max: -1,
		flags: []urfave.Flag{
			&urfave.StringSliceFlag{Name: "term", Usage: "also look for `TEXT`: an error message, an identifier, a synonym; may be repeated"},
			&urfave.IntFlag{Name: "limit", Usage: "show at most `N` episodes", Value: 5},
			&urfave.StringFlag{Name: "in", Usage: "only sessions in the directory `DIR` and below"},
			&urfave.StringFlag{Name: "since", Usage: "only what ended within the last `TIME`, such as 30d"},
			jsonFlag(),
		},
		about: "The memory is an index over the transcripts of this machine's Claude Code sessions. It needs no mesh, runs no model, and sends nothing\n" +
			"anywhere. Secrets are removed before anything is stored. Error texts and identifiers find most.",
		examples: []string{`claudemesh recall "stripe signature 400"`, `claudemesh recall "why did the build fail" --term "undefined: foo" --since 14d`, "claudemesh recall show 42"},
		run:      runRecall,
		subs: []*verb{
			{name: "show", usage: "show everything that the memory holds of one episode", args: "<id>", min: 1, max: 1, flags: []urfave.Flag{jsonFlag()},
				examples: []string{"claudemesh recall show 42"}, run: runRecallShow},
			{name: "status", usage: "what the memory holds, from where, and what is kept out", flags: []urfave.Flag{jsonFlag()}, run: runRecallStatus},
			{name: "exclude", usage: "keep the sessions in a directory and below out, and remove what is there", args: "[dir]", min: 0, max: 1,
				flags:    []urfave.Flag{&urfave.BoolFlag{Name: "undo", Usage: "take an exclusion back: the sessions are indexed again"}, jsonFlag()},
				examples: []string{"claudemesh recall exclude ~/work/secret", "claudemesh recall exclude --undo ~/work/secret"}, run: runRecallExclude},
			{name: "private", usage: "keep one session out, and remove what is there; this session by default", args: "[session]", min: 0, max: 1,
				flags: []urfave.Flag{jsonFlag()}, examples: []string{"claudemesh recall private"}, run: runRecallPrivate},
			{name: "release", usage: "let a session that read peers' words count as your own work: it may be told to others then", args: "<id|session>", min: 1, max: 1,
				flags: []urfave.Flag{jsonFlag()}, examples: []string{"claudemesh recall release 42"}, run: runRecallRelease},
			{name: "forget", usage: "remove episodes for good: by id, session or directory", args: "[id…]", min: 0, max: -1,
				flags: []urfave.Flag{
					&urfave.StringFlag{Name: "session", Usage: "all of the session `ID`"},
					&urfave.StringFlag{Name: "dir", Usage: "all of the sessions in `DIR` and below"},
					&urfave.StringFlag{Name: "matching", Usage: "what a search for `TEXT` finds, after it was shown"},
					&urfave.BoolFlag{Name: "yes", Usage: "do not ask"},
					jsonFlag(),
				},
				examples: []string{"claudemesh recall forget 42 57", `claudemesh recall forget --matching "merger" --yes`}, run: runRecallForget},
		},
	}
}

func rememberVerb() *verb {
	return &verb{
		name: "remember", heading: headMemory, usage: "write a note into the memory", args: "<text…|->", min: 1, max: -1,
		flags:    []urfave.Flag{jsonFlag()},
		about:    "A note is found by recall like everything else, is marked as written by you, and is kept until you forget it.",
		examples: []string{`claudemesh remember "the staging data base is restored from heron every night"`},
		run:      runRemember,
	}
}

func runRecall(ctx context.Context, c *call) error {
	if len(c.args) == 0 && len(c.flags.StringSlice("term")) == 0 {
		return protocol.Refuse(protocol.CodeInvalid, "nothing to look for").WithHint(`claudemesh recall "stripe signature 400"`)
	}
	req := protocol.RecallRequest{Query: c.rest(0), Terms: c.flags.StringSlice("term")}
	var err error
	if req.Limit, err = c.positive("limit"); err != nil {
		return err
	}
	if dir := c.str("in"); dir != "" {
		if req.Dir, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	since, err := c.duration("since")
	if err != nil {
		return err
	}
	if since > 0 {
		req.Since = time.Now().Add(-since).UTC().Format(time.RFC3339)
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	found, err := recallWhenRead(ctx, cl, req)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(found)
		return nil
	}
	c.printHits(found)
	return nil
}

const (
	recallPatience = 20 * time.Second       // for the first reading of all transcripts
	recallPoll     = 250 * time.Millisecond // meanwhile
)

// recallWhenRead searches. A memory that is empty because it is read for the first time is waited for.
func recallWhenRead(ctx context.Context, cl *client.Client, req protocol.RecallRequest) (found protocol.RecallReply, err error) {
	began := time.Now()
	for {
		found, err = cl.Recall(ctx, req)
		if err != nil || len(found.Hits) > 0 || time.Since(began) > recallPatience {
			return found, err
		}
		fresh := found.Episodes == 0 && time.Since(began) < 3*time.Second // the daemon has just been started
		if !found.Indexing && !fresh || !pauseFor(ctx, recallPoll) {
			return found, err
		}
	}
}

func (c *call) printHits(found protocol.RecallReply) {
	if len(found.Hits) == 0 {
		c.note("nothing found in %s", plural(found.Episodes, "episode"))
	}
	now := time.Now()
	for i, h := range found.Hits {
		if i > 0 {
			c.say("")
		}
		c.say("%s", strings.Join(hitHead(c, &h, now), " · "))
		for l := range strings.SplitSeq(cleanText(h.Excerpt), "\n") {
			c.say("    %s", l)
		}
	}
	if found.Indexing {
		c.note("transcripts are still being read; ask again in a moment for more")
	}
}

func hitHead(c *call, h *protocol.RecallHit, now time.Time) []string {
	head := []string{c.paint(bold, strconv.FormatInt(h.ID, 10))}
	switch {
	case h.Kind == string(source.Note):
		head = append(head, "note of a "+clean(h.Agent))
	case h.Kind == string(source.Mail):
		head = append(head, "mail from "+clean(h.Prompt))
	case h.Title != "":
		head = append(head, clean(h.Title))
	}
	if h.Dir != "" {
		head = append(head, clean(tilde(h.Dir)))
	}
	if h.Branch != "" && h.Branch != "main" && h.Branch != "HEAD" {
		head = append(head, clean(h.Branch))
	}
	if h.At != "" {
		head = append(head, agoText(h.At, now))
	}
	if h.Changed > 0 {
		head = append(head, changedWords(h.Changed))
	}
	if h.Secondhand {
		head = append(head, c.paint(yellow, "may repeat a peer's words"))
	}
	return head
}

// agoText is ago for a time as in RFC 3339.
func agoText(at string, now time.Time) string {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return "at an unknown time"
	}
	return ago(t, now)
}

// tilde writes the home directory in a path as "~".
func tilde(path string) string {
	home, err := os.UserHomeDir()
	if rest, ok := strings.CutPrefix(path, home); err == nil && ok && (rest == "" || rest[0] == filepath.Separator) {
		return "~" + rest
	}
	return path
}

func runRecallShow(ctx context.Context, c *call) error {
	id, err := strconv.ParseInt(c.arg(0), 10, 64)
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "%q is no id of an episode", c.arg(0)).WithHint("claudemesh recall <question> lists ids in front of what it found")
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	e, err := cl.Episode(ctx, id)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(e)
		return nil
	}
	c.say("%s", strings.Join(hitHead(c, &e.RecallHit, time.Now()), " · "))
	for _, part := range []struct{ name, text string }{{"asked", e.Asked}, {"said", e.Text}, {"did", e.Code}, {"output", e.Output}, {"files", strings.Join(e.Files, "\n")}} {
		if part.text == "" {
			continue
		}
		c.say("%s", c.paint(bold, part.name))
		for l := range strings.SplitSeq(cleanText(part.text), "\n") {
			c.say("    %s", l)
		}
	}
	return nil
}

func runRecallStatus(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	s, err := cl.RecallStatus(ctx)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(s)
		return nil
	}
	now := time.Now()
	c.say("%s of %s, %s; %s", plural(s.Episodes, "episode"), plural(s.Sessions, "session"), plural(s.Notes, "note"), plural(int(s.Secrets), "secret")+" removed")
	if s.Newest != "" {
		c.say("oldest %s, newest %s", agoText(s.Oldest, now), agoText(s.Newest, now))
	}
	c.say("index %s: %s, from %s of transcripts", clean(tilde(s.Path)), megabytes(s.Bytes), megabytes(s.Read))
	for _, dir := range s.Sources {
		c.say("reads %s", clean(tilde(dir)))
	}
	for _, dir := range s.Excluded {
		c.say("excluded %s", clean(tilde(dir)))
	}
	for _, p := range s.Problems {
		c.say("%s", c.paint(yellow, "cannot read "+clean(tilde(p.Path))+": "+clean(p.Reason)))
	}
	if s.Indexing {
		c.say("transcripts are being read")
	}
	return nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func runRecallExclude(ctx context.Context, c *call) error {
	dir, err := filepath.Abs(c.arg(0)) // none: the working directory
	if err != nil {
		return err
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	gone, err := cl.RecallExclude(ctx, protocol.RecallExcludeRequest{Dir: dir, Undo: c.yes("undo")})
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(gone)
		return nil
	}
	if c.yes("undo") {
		return c.done("%s is indexed again; transcripts that still exist are read now", tilde(dir))
	}
	return c.done("%s is kept out; %s removed", tilde(dir), plural(gone.Removed, "episode"))
}

func runRecallPrivate(ctx context.Context, c *call) error {
	session := c.arg(0)
	if session == "" {
		session = ownSession().ID
	}
	if session == "" {
		return protocol.Refuse(protocol.CodeInvalid, "this is no session of an agent").WithHint("claudemesh recall private <session>")
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	gone, err := cl.RecallForget(ctx, protocol.RecallForgetRequest{Session: session, Private: true})
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(gone)
		return nil
	}
	return c.done("the session is private; %s removed", plural(gone.Removed, "episode"))
}

func runRecallForget(ctx context.Context, c *call) error {
	req := protocol.RecallForgetRequest{Session: c.str("session")}
	for _, arg := range c.args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil {
			return protocol.Refuse(protocol.CodeInvalid, "%q is no id of an episode", arg).WithHint("claudemesh recall <question> lists ids in front of what it found")
		}
		req.IDs = append(req.IDs, id)
	}
	if dir := c.str("dir"); dir != "" {
		var err error
		if req.Dir, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if q := c.str("matching"); q != "" {
		found, err := cl.Recall(ctx, protocol.RecallRequest{Query: q, Limit: 50})
		if err != nil {
			return err
		}
		if !c.json {
			c.printHits(found)
		}
		for _, h := range found.Hits {
			req.IDs = append(req.IDs, h.ID)
		}
		if len(req.IDs) == 0 {
			return protocol.Refuse(protocol.CodeNotFound, "nothing in the memory matches %q", q)
		}
		if err := c.confirm("forget %s for good?", plural(len(req.IDs), "episode")); err != nil {
			return err
		}
	}
	gone, err := cl.RecallForget(ctx, req)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(gone)
		return nil
	}
	return c.done("%s forgotten", plural(gone.Removed, "episode"))
}

func runRemember(ctx context.Context, c *call) error {
	text, err := c.message(0)
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	done, err := cl.Remember(ctx, protocol.RememberRequest{Text: text, By: recall.ByPerson, Dir: dir})
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(done)
		return nil
	}
	if done.Removed > 0 {
		c.note("%s removed from the note", plural(done.Removed, "secret"))
	}
	return c.done("remembered as %d", done.ID)
}

// recordings are where the agents of this user record their sessions.
func recordings() []source.Source {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	return []source.Source{source.Claude{Dir: source.ClaudeDir(home, os.Getenv("CLAUDE_CONFIG_DIR"))}}
}
