package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		84 * time.Millisecond: "84 ms", 1250 * time.Millisecond: "1.2 s", 9 * time.Second: "9 s", 42 * time.Second: "42 s",
		3 * time.Minute: "3 min", 2*time.Hour + time.Minute: "2 h", 47 * time.Hour: "47 h", 7 * 24 * time.Hour: "7 days",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{"10s": 10 * time.Second, "7d": 168 * time.Hour, "2w": 336 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "10", "-5s", "1.5d", "99999d", "soon"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func TestSentWords(t *testing.T) {
	now := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	began := now.Add(-time.Second)
	bob := protocol.RecipientResult{Name: "bob", Session: "api", Pubkey: "b0", State: protocol.StateDelivered, Proof: protocol.ProofPeer, At: began.Add(84 * time.Millisecond)}
	off := protocol.RecipientResult{Name: "bob", Pubkey: "b0", State: protocol.StateQueued, Proof: protocol.ProofBroker, LastSeen: "2030-01-02T10:00:00Z"}
	cathy := protocol.RecipientResult{Name: "cathy", Pubkey: "c0", State: protocol.StateDelivered, Proof: protocol.ProofPeer, At: began.Add(20 * time.Millisecond)}
	word := bob
	word.Proof = protocol.ProofBroker
	for _, tt := range []struct {
		name string
		to   []protocol.RecipientResult
		want string
	}{
		{"delivered", []protocol.RecipientResult{bob}, "delivered to bob/api in 84 ms · 7HqX2a1b"},
		{"offline", []protocol.RecipientResult{off}, "queued for bob: offline, last seen 2 h ago, kept 7 days · 7HqX2a1b"},
		{"on its way", []protocol.RecipientResult{{Name: "bob", State: protocol.StateAccepted}}, "accepted, on its way to the broker · 7HqX2a1b"},
		{"the broker's word", []protocol.RecipientResult{word}, "delivered to bob/api in 84 ms, by the broker's word · 7HqX2a1b"},
		{"dead", []protocol.RecipientResult{{Name: "bob", State: protocol.StateDead, Reason: "expired"}}, "dead for bob: expired · 7HqX2a1b"},
		{"two states", []protocol.RecipientResult{off, cathy}, "delivered to cathy in 20 ms · 7HqX2a1b\nqueued for bob: offline, last seen 2 h ago, kept 7 days · 7HqX2a1b"},
		{"two of one", []protocol.RecipientResult{cathy, bob}, "delivered to bob/api and cathy in 84 ms · 7HqX2a1b"},
		{"never seen", []protocol.RecipientResult{{Name: "bob", Pubkey: "b0", State: protocol.StateQueued}}, "queued for bob: offline, never seen, kept 7 days · 7HqX2a1b"},
	} {
		res := protocol.SendResult{ID: "7HqX2a1bXXXXXXXXXXXXXX", Recipients: tt.to, KeptDays: 7}
		if got := strings.Join(sentLines(res, began, now), "\n"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Who cannot answer is said by name, and only of those who have not seen the message.
func TestAnswerLines(t *testing.T) {
	daemon := protocol.RecipientResult{Name: "bob", State: protocol.StateDelivered, Online: true, Presence: protocol.PresenceNoSession}
	session := protocol.RecipientResult{Name: "bob", Session: "api", State: protocol.StateDelivered, Online: true, Presence: protocol.PresenceSession, CanAnswer: true}
	ended, quiet, shown := session, session, daemon
	ended.SessionEnded, quiet.CanAnswer, shown.State = true, false, protocol.StateShown
	for _, tt := range []struct {
		to   []protocol.RecipientResult
		want string
	}{
		{[]protocol.RecipientResult{session, shown}, ""},
		{[]protocol.RecipientResult{daemon, session}, "no session runs at bob: the message is kept, and nobody answers until one starts"},
		{[]protocol.RecipientResult{ended}, "bob/api ended: another session of the member gets the message"},
		{[]protocol.RecipientResult{quiet}, "not to be disturbed: bob/api; the message waits"},
		{[]protocol.RecipientResult{{Name: "alice", Session: "ci", State: protocol.StateQueued, Presence: protocol.PresenceAPIKey}}, ""},
	} {
		if got := strings.Join(answerLines(tt.to), "\n"); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestPeerTextIsHarmless(t *testing.T) {
	var out bytes.Buffer
	c := &call{app: newApp(nil, &out, &out)}
	evil := "\x1b[2J\x1b]0;owned\x07 <system> \u202eabc"
	c.printMessage(&protocol.InboxMessage{ID: "12345678", Mesh: "acme", Body: evil + "\nsecond", From: protocol.From{Name: evil, Trust: protocol.TrustInvited}})
	for _, bad := range []string{"\x1b", "\x07", "\u202e"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%q reached the terminal: %q", bad, out.String())
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines != 3 {
		t.Errorf("got %d lines: %q", lines, out.String())
	}
	if !strings.Contains(out.String(), "(invited)") {
		t.Errorf("the trust is not said: %q", out.String())
	}
}

func TestTableAligns(t *testing.T) {
	var out bytes.Buffer
	newApp(nil, &out, &out).table([]string{"A", "B"}, [][]string{{"zoë", "1"}, {"bo", "22"}})
	if want := "A    B\nzoë  1\nbo   22\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{"sned": "send", "josn": "json", "prioritty": "priority", "zebra": "", "x": ""} {
		if got := nearest(word, []string{"send", "json", "priority", "to"}); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}

func TestQRCodeIsSquare(t *testing.T) {
	code, err := qrCode("ic://join/" + strings.Repeat("A", 460))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(code, "\n"), "\n")
	width := len([]rune(lines[0])) - len("\x1b[30;107m") - len("\x1b[0m")
	if width != 2*len(lines) && width != 2*len(lines)-1 {
		t.Errorf("%d columns, %d lines", width, len(lines))
	}
}
