package cli

import (
	"iter"
	"math"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

// wholeInbox is a limit that no inbox reaches.
const wholeInbox = math.MaxInt32

func filterFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "from", Usage: "list only messages of the member `NAME`, or of NAME/SESSION"},
		&urfave.StringFlag{Name: "since", Usage: "list only what arrived since `TIME`: 2h, 7d, 2026-11-28, or RFC 3339"},
		&urfave.StringFlag{Name: "search", Usage: "list only messages with `TEXT` in them, in upper or lower case"},
	}
}

// mailFilter picks messages. The zero value picks all.
type mailFilter struct {
	from, search string // search in lower case
	since        time.Time
}

func (c *call) mailFilter(now time.Time) (f mailFilter, err error) {
	f.from, f.search = c.str("from"), strings.ToLower(c.str("search"))
	if since := c.str("since"); since != "" {
		f.since, err = parseSince(since, now)
	}
	return f, err
}

// parseSince reads a duration before now, a day in local time, or a time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if d, err := parseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return day, nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	return time.Time{}, protocol.Refuse(protocol.CodeInvalid, "--since: %q is no time", s).
		WithHint("a while ago, such as 2h or 7d; a day, such as 2026-11-28; or RFC 3339, such as 2026-11-28T09:30:00Z")
}

func (f mailFilter) empty() bool { return f == mailFilter{} }

func (f mailFilter) picks(m *protocol.InboxMessage) bool {
	name, session, one := strings.Cut(f.from, "/")
	return (f.from == "" || m.From.Name == name && (!one || m.From.Session == session)) &&
		!m.ReceivedAt.Before(f.since) &&
		(f.search == "" || strings.Contains(strings.ToLower(m.Body), f.search))
}

// pick yields at most limit of the messages that f picks. The messages come newest first.
func (f mailFilter) pick(all iter.Seq2[protocol.InboxMessage, error], limit int) iter.Seq2[protocol.InboxMessage, error] {
	return func(yield func(protocol.InboxMessage, error) bool) {
		for m, err := range all {
			switch {
			case err != nil:
				yield(m, err)
				return
			case limit == 0 || m.ReceivedAt.Before(f.since):
				return
			case f.picks(&m):
				if limit--; !yield(m, nil) {
					return
				}
			}
		}
	}
}
