package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// statusTimeout is when a daemon is too slow for a status line: it is drawn again soon.
const statusTimeout = 200 * time.Millisecond

func statuslineVerb() *verb {
	return &verb{
		name: "statusline", usage: "one line for Claude Code's status line: ◇ acme · 3/5 online · 2 unread",
		about:    "It reads what Claude Code says of the session as JSON on stdin, and prints nothing where there is nothing to tell.",
		examples: []string{"claudemesh statusline"},
		run: func(ctx context.Context, c *call) error {
			if line := c.statusLine(ctx); line != "" {
				c.say("%s", line)
			}
			return nil
		},
	}
}

func (c *call) statusLine(ctx context.Context) string {
	home, err := config.FindHome()
	if err != nil {
		return ""
	}
	in := lineEvent{SessionID: os.Getenv("CLAUDE_CODE_SESSION_ID")}
	if !isTerminal(c.stdin) {
		_ = json.NewDecoder(io.LimitReader(c.stdin, 1<<20)).Decode(&in)
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	line, err := client.Dial(home).StatusLine(ctx, in.SessionID)
	if err != nil {
		return ""
	}
	if line.Unknown && in.Cost.Duration < startsWithin.Milliseconds() {
		return "" // its hooks and tools are just starting
	}
	return statusWords(line)
}

// startsWithin is how long a session may take to come on the mesh before the status line says that it is not there.
const startsWithin = 10 * time.Second

// lineEvent is what Claude Code tells its status line, as far as we look at it.
type lineEvent struct {
	SessionID string `json:"session_id"`
	Cost      struct {
		Duration int64 `json:"total_duration_ms"` // since the session began
	} `json:"cost"`
}

func statusWords(l protocol.StatusLine) string {
	if l.Mesh == "" {
		return ""
	}
	if l.Unknown {
		return "◇ " + l.Mesh + " · this session is not on the mesh"
	}
	words := "◇ " + l.Mesh
	if l.More > 0 {
		words += fmt.Sprintf(" +%d", l.More)
	}
	if l.State == protocol.ConnOpen {
		words += fmt.Sprintf(" · %d/%d online", l.Online, l.Members)
	} else {
		words += " · " + l.State
	}
	words += fmt.Sprintf(" · %d unread", l.Unread)
	if l.Held > 0 {
		words += fmt.Sprintf(" · %d held", l.Held)
	}
	if l.Asked > 0 {
		words += " · " + plural(l.Asked, "knowledge request")
	}
	if l.Guarded {
		words += " · guard on"
	}
	if len(l.Waiting) > 0 {
		words += " · " + waitsForYou(l.Waiting)
	}
	return words
}

// waitsForYou names the sessions that wait for their human.
func waitsForYou(labels []string) string {
	verb := " waits for you"
	if len(labels) > 1 {
		verb = " wait for you"
	}
	if len(labels) > 3 {
		return plural(len(labels), "session") + verb
	}
	names := make([]string, len(labels))
	for i, l := range labels {
		names[i] = clean(l)
	}
	return listAnd(names) + verb
}
