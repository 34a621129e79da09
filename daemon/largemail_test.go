package daemon

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
)

// Alice writes 30 messages of 60 KB. Whatever way bob reads them, no answer has more than its part
// of them, and all come.
func TestLargeMailComesInParts(t *testing.T) {
	const messages, size, part = 30, 60_000, 1 << 20
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	var want []string
	for i := range messages {
		head := fmt.Sprintf("%06d", i)
		want = append(want, head)
		a.send("bob", head+strings.Repeat("x", size), protocol.PriorityNext)
	}
	heads := func(all []protocol.InboxMessage) (heads []string) {
		for _, m := range all {
			heads = append(heads, m.Body[:6])
		}
		return heads
	}

	for _, path := range []string{"/v1/inbox", "/api/v1/messages"} {
		var got []string
		next := uint64(0)
		for {
			status, body := a.bob.raw(http.MethodGet, fmt.Sprintf("%s?all=true&limit=1000&before=%d", path, next), "")
			var page protocol.InboxPage
			if err := json.Unmarshal([]byte(body), &page); err != nil || status != http.StatusOK {
				t.Fatalf("%s: %d %v %.200s", path, status, err, body)
			}
			if len(body) > part+2*size || len(page.Messages) == 0 {
				t.Fatalf("%s answers with %d messages in %d bytes", path, len(page.Messages), len(body))
			}
			got = append(got, heads(page.Messages)...)
			if next = page.Next; next == 0 {
				break
			}
		}
		slices.Reverse(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s gives %q", path, got)
		}
	}
	all, err := a.bob.Inbox(t.Context(), protocol.InboxQuery{All: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if got := heads(all); len(got) != messages || got[0] != want[messages-1] {
		t.Errorf("the client lists %q", got)
	}
	if some, err := a.bob.Inbox(t.Context(), protocol.InboxQuery{All: true, Limit: 25}); err != nil || len(some) != 25 {
		t.Errorf("the client lists %d of 25, %v", len(some), err)
	}
	brief, err := a.bob.Inbox(t.Context(), protocol.InboxQuery{All: true, Limit: 1000, Brief: true})
	if err != nil || len(brief) != messages || brief[0].Body != "" {
		t.Errorf("in brief %d, %v", len(brief), err)
	}

	events := 0
	for cursor := uint64(0); ; {
		got, next, err := a.bob.Hub.Read(cursor, inbox.Audience{})
		if err != nil {
			t.Fatal(err)
		}
		text := 0
		for _, e := range got {
			if e.Message != nil {
				events++
				text += len(e.Message.Body)
			}
		}
		if text > part+2*size {
			t.Fatalf("%d bytes of events at once", text)
		}
		if next == cursor {
			break
		}
		cursor = next
	}
	if events != messages {
		t.Errorf("%d events of messages", events)
	}

	var taken []string
	for len(taken) < messages {
		out := a.take(a.bob.Client, "s1", protocol.RungPull, func(r *protocol.TakeRequest) { r.Max = delivery.TakeMost })
		if textBytes(out) > delivery.PullBytes+size+6 || len(out.Messages) == 0 {
			t.Fatalf("%d messages of %d bytes taken at once", len(out.Messages), textBytes(out))
		}
		var ids []string
		for _, m := range out.Messages {
			ids = append(ids, m.ID)
		}
		if err := a.bob.Settle(t.Context(), protocol.SettleRequest{Session: "s1", Rung: protocol.RungPull, State: protocol.SettleShown, IDs: ids}); err != nil {
			t.Fatal(err)
		}
		taken = append(taken, heads(out.Messages)...)
		if out.Unread != messages-len(taken) {
			t.Errorf("%d unread behind %d", out.Unread, len(taken))
		}
	}
	if !slices.Equal(taken, want) {
		t.Errorf("taken %q", taken)
	}
}

// textBytes is how much text an answer has.
func textBytes(r protocol.TakeReply) (n int) {
	for _, m := range r.Messages {
		n += len(m.Body)
	}
	return n
}
