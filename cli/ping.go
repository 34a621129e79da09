package cli

import (
	"cmp"
	"context"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

func pingVerb() *verb {
	return &verb{
		name: "ping", usage: "ask a peer's daemon for a sign of life", args: "<peer>", min: 1, max: 1,
		flags: []urfave.Flag{
			&urfave.StringFlag{Name: "wait", Usage: "give up after `TIME`, at most a minute", Value: "5s"},
			meshFlag(), jsonFlag(),
		},
		about: `The ping goes sealed through the broker to the daemon of a member, or of name/session. What comes back is signed by that member:
the broker cannot answer for him. Nobody sees it in an inbox. Exit 4 when nobody is connected or no answer came.`,
		examples: []string{"claudemesh peer ping bob", "claudemesh peer ping bob/web --json"}, run: runPing,
	}
}

func runPing(ctx context.Context, c *call) error {
	wait, err := c.duration("wait")
	if err != nil {
		return err
	}
	if wait <= 0 || wait > time.Minute {
		return protocol.Refuse(protocol.CodeInvalid, "--wait is between a millisecond and a minute")
	}
	cl, err := c.settledDaemon(ctx)
	if err != nil {
		return err
	}
	res, err := cl.Ping(ctx, protocol.PingRequest{Mesh: c.str("mesh"), To: c.arg(0), WaitMS: wait.Milliseconds()})
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(res)
	} else {
		c.say("%s", pingWords(res, wait, time.Now()))
		if res.OK && res.Presence == protocol.PresenceNoSession {
			c.say("    the daemon answered: no session runs at %s, and nobody reads a message now", clean(res.Name))
		}
	}
	switch res.State {
	case protocol.PingAnswered:
		return nil
	case protocol.PingRefused:
		return exitStatus(exitDenied)
	}
	return exitStatus(exitUnreachable)
}

// pingWords says what became of a ping, and who says so.
func pingWords(res protocol.PingResult, wait time.Duration, now time.Time) string {
	name := who(res.Name, res.Session)
	switch res.State {
	case protocol.PingAnswered:
		trust := string(res.Trust)
		if res.InPerson {
			trust += ", in person"
		}
		return fmt.Sprintf("%s answered in %s (%s); the broker took %s of it", name, millisText(res.RTTms), trust, millisText(res.BrokerRTTms))
	case protocol.PingOffline:
		last := "his connection was lost a moment ago"
		if res.LastSeen != "" {
			last = seen(res.LastSeen, now)
		}
		return fmt.Sprintf("%s is offline, the broker says: %s", name, last)
	case protocol.PingRefused:
		return fmt.Sprintf("%s refused: %s", name, clean(cmp.Or(res.Reason, "no reason given")))
	}
	return fmt.Sprintf("no answer from %s in %s: %s", name, wait, clean(res.Reason))
}

func millisText(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}
