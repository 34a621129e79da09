package cli

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// shortID is how ids are shown: enough to be unique in practice, and accepted wherever an id is asked for.
func shortID(id string) string { return id[:min(len(id), 8)] }

// span says a duration as people do: "84 ms", "1.2 s", "3 min", "2 h", "7 days".
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strconv.FormatFloat(math.Floor(d.Seconds()*10)/10, 'f', -1, 64) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// ago says how long before now t was.
func ago(t, now time.Time) string {
	if d := now.Sub(t); d >= 2*time.Second {
		return span(d.Truncate(time.Second)) + " ago"
	}
	return "just now"
}

// seen says when somebody was last seen; the time is RFC 3339, or empty for never.
func seen(at string, now time.Time) string {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return "never seen"
	}
	return "last seen " + ago(t, now)
}

var days = regexp.MustCompile(`^(\d{1,4})([dw])$`)

// parseDuration reads Go's durations and, beyond them, days and weeks: 10s, 5m, 2h, 7d, 2w. It must not be negative.
func parseDuration(s string) (time.Duration, error) {
	if m := days.FindStringSubmatch(s); m != nil {
		n, _ := strconv.Atoi(m[1]) // at most four digits
		day := 24 * time.Hour
		if m[2] == "w" {
			day *= 7
		}
		return time.Duration(n) * day, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no length of time; write 10s, 5m, 2h or 7d", s)
	}
	if d < 0 {
		return 0, errors.New("a length of time is not negative")
	}
	return d, nil
}

func listAnd(words []string) string { return listWith(words, "and") }
func listOr(words []string) string  { return listWith(words, "or") }

func listWith(words []string, last string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " " + last + " " + words[n-1]
	}
	return strings.Join(words, "")
}

// plural returns "1 message" or "3 messages".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// who names a recipient or sender: bob, or bob/api for one session.
func who(name, session string) string {
	if session == "" {
		return clean(name)
	}
	return clean(name + "/" + session)
}
