package cli

import (
	"context"
	"io"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

func inboxShowVerb() *verb {
	return &verb{
		name: "show", usage: "print one message exactly as it was written", args: "<id>", min: 1, max: 1,
		flags: []urfave.Flag{jsonFlag()},
		about: "The text goes to stdout, and who wrote it to stderr. A pipe or a file gets the text byte for byte; a terminal shows control\n" +
			"characters and marks that turn the direction of writing as signs. It marks nothing as read.",
		examples: []string{"claudemesh inbox show 7HqX2a1b"},
		run:      runInboxShow,
	}
}

func runInboxShow(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	m, err := cl.InboxMessage(ctx, c.arg(0))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(m)
		return nil
	}
	if m.Alarm != "" {
		return protocol.Refuse(protocol.CodeAlarm, "message %s has no text that could be shown: %s", shortID(m.ID), m.Alarm)
	}
	c.note("%s", c.messageHead(&m))
	for _, words := range flagged(&m) {
		c.note("%s", c.paint(yellow, words))
	}
	for _, l := range fileLines(m.ID, m.Files) {
		c.note("%s", l)
	}
	c.printText(m.Body)
	return nil
}

// printText prints a text of somebody else: as it is, or on a terminal so that the terminal obeys none of it.
func (c *call) printText(text string) {
	if !isTerminal(c.stdout) {
		io.WriteString(c.stdout, text)
		return
	}
	shown, n := protocol.NeutralizeCount(text)
	if !strings.HasSuffix(shown, "\n") {
		shown += "\n"
	}
	io.WriteString(c.stdout, shown)
	if n > 0 {
		c.note("%s shown as signs; a pipe or --json gives them as they are", plural(n, "control character"))
	}
}
