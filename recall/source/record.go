package source

import (
	"encoding/json"
	"strings"
	"time"
)

// record is one line of a Claude Code transcript (clients 1.0 to 2.1.332). Every field may be
// missing or of another type: lenient fields are empty then.
type record struct {
	Type        text            `json:"type"`
	Subtype     text            `json:"subtype"`
	UUID        text            `json:"uuid"`
	Session     text            `json:"sessionId"`
	AgentID     text            `json:"agentId"`
	Time        text            `json:"timestamp"`
	Dir         text            `json:"cwd"`
	Branch      text            `json:"gitBranch"`
	Meta        flag            `json:"isMeta"`
	Compact     flag            `json:"isCompactSummary"`
	APIError    flag            `json:"isApiErrorMessage"`
	Transcript  flag            `json:"isVisibleInTranscriptOnly"`
	Origin      origin          `json:"origin"`
	Message     message         `json:"message"`
	Summary     text            `json:"summary"`
	CustomTitle text            `json:"customTitle"`
	AITitle     text            `json:"aiTitle"`
	Content     json.RawMessage `json:"content"`
}

// text is a JSON string; anything else is empty.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = text(s)
	}
	return nil
}

// flag is a JSON boolean; anything else is false.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error { *f = string(b) == "true"; return nil }

type origin struct{ Kind text }

func (o *origin) UnmarshalJSON(b []byte) error {
	var v struct {
		Kind text `json:"kind"`
	}
	if json.Unmarshal(b, &v) == nil {
		o.Kind = v.Kind
	}
	return nil
}

// author is who wrote the text of a user's turn.
type author int

const (
	authorPerson author = iota
	authorClient        // the client itself: a finished task, a continuation
	authorPeer          // another session, a channel, somebody on the mesh
)

// author reads the kinds that the client writes (2.1.332). Older clients write none. A kind that is
// not known is not taken for the person.
func (o origin) author() author {
	switch o.Kind {
	case "", "human", "person", "composer", "suggestion", "voice-call":
		return authorPerson
	case "task-notification", "auto-continuation", "observer-activity", "coordinator", "hook", "agent":
		return authorClient
	}
	return authorPeer
}

type message struct {
	Content []block
}

// UnmarshalJSON takes content as a string or as a list of blocks.
func (m *message) UnmarshalJSON(b []byte) error {
	var v struct {
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(b, &v) == nil {
		m.Content = blocks(v.Content)
	}
	return nil
}

func blocks(raw json.RawMessage) []block {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		if s == "" {
			return nil
		}
		return []block{{Type: "text", Text: text(s)}}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	out := make([]block, 0, len(list))
	for _, item := range list {
		var b block
		if json.Unmarshal(item, &b) == nil {
			out = append(out, b)
		}
	}
	return out
}

// block is one part of a message: text, tool_use or tool_result.
type block struct {
	Type    text            `json:"type"`
	Text    text            `json:"text"`
	ID      text            `json:"id"`
	Name    text            `json:"name"`
	Input   json.RawMessage `json:"input"`
	For     text            `json:"tool_use_id"`
	Content json.RawMessage `json:"content"`
	Error   flag            `json:"is_error"`
}

// result returns the text of a tool_result.
func (b *block) result() string {
	var parts []string
	for _, inner := range blocks(b.Content) {
		if inner.Text != "" {
			parts = append(parts, string(inner.Text))
		}
	}
	return strings.Join(parts, "\n")
}

// parse reads one line. It reports false for what is no record of a conversation.
func parse(line []byte) (*record, bool) {
	var r record
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &r) != nil {
		return nil, false
	}
	return &r, true
}

// hash identifies the record: by its uuid, or by its content where an older client gave none.
func (r *record) hash(line []byte) uint64 {
	if r.UUID != "" {
		return RecordHash(string(r.UUID))
	}
	return RecordHash(string(line))
}

// time returns when the record was written. A time that is missing or outside of 2000 to 2100 is zero.
func (r *record) time() time.Time {
	t, err := time.Parse(time.RFC3339Nano, string(r.Time))
	if err != nil || t.Year() < 2000 || t.Year() > 2100 {
		return time.Time{}
	}
	return t
}
