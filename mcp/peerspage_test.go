package mcp

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// Bob has three thousand sessions, with much to say of each. A model reads a page of it, in which
// everybody else has a place, and can read on to the end.
func TestListPeersComesInPages(t *testing.T) {
	const sessions, others, offline = 3000, 20, 10
	f := newFakeMesh()
	for i := range sessions {
		f.peers = append(f.peers, protocol.PeerInfo{
			Mesh: "acme", Name: "bob", Session: fmt.Sprint("s", i), Pubkey: fmt.Sprintf("%064x", i), Status: "idle", Trust: "verified",
			Summary: strings.Repeat("<", i%200), Cwd: "/src/" + strings.Repeat("d", i%100),
		})
	}
	f.members = []protocol.MemberInfo{}
	for i := range others {
		f.peers = append(f.peers, protocol.PeerInfo{Mesh: "acme", Name: fmt.Sprint("eve", i), Session: "web", Pubkey: fmt.Sprintf("%064x", 1<<20+i), Trust: "verified"})
	}
	for i := range offline {
		f.members = append(f.members, protocol.MemberInfo{Mesh: "acme", Name: fmt.Sprint("frank", i), Trust: "verified"})
	}
	cs := run(t, alice(f))
	seen := make(map[string]bool)
	for skip, more := 0, true; more; {
		res, _ := call(t, cs, "list_peers", map[string]any{"skip": skip})
		var out listPeersOut
		text := resultText(res)
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		n := len(out.Peers) + len(out.Offline)
		if n == 0 || n > peersMost || len(text) > peersBytes {
			t.Fatalf("at %d: %d peers and members in %d bytes", skip, n, len(text))
		}
		for _, p := range out.Peers {
			seen[p.Name+"/"+p.Session] = true
		}
		for _, m := range out.Offline {
			seen[m.Name] = true
		}
		if rest := sessions + others + offline - len(seen); out.More != rest {
			t.Fatalf("at %d: %d more, want %d", skip, out.More, rest)
		}
		if skip == 0 && (!seen["bob/s0"] || !seen["eve19/web"]) {
			t.Errorf("the first page has %v", seen)
		}
		more, skip = out.More > 0, out.Skip
	}
	if len(seen) != sessions+others+offline {
		t.Errorf("%d of %d", len(seen), sessions+others+offline)
	}
	if res, _ := call(t, cs, "list_peers", map[string]any{"skip": 1 << 30}); res.IsError || !strings.Contains(resultText(res), `"peers":[]`) {
		t.Errorf("beyond the end: %s", resultText(res))
	}
}

// A message to everybody in a large mesh, and a name that many keys have: what a model reads of it
// stays short, and counts the others.
func TestRecipientsAndNamesAreBounded(t *testing.T) {
	var all []protocol.RecipientResult
	var names []string
	for i := range recipientsMost + 7 {
		state := protocol.StateQueued
		if i%2 == 0 {
			state = protocol.StateDelivered
		}
		all = append(all, protocol.RecipientResult{Name: fmt.Sprint("bob", i), State: state})
		names = append(names, fmt.Sprint("bob", i))
	}
	shown, more := shownRecipients(all)
	if len(shown) != recipientsMost || more != "4 more delivered, 3 more queued" {
		t.Errorf("%d recipients, and %q", len(shown), more)
	}
	if shown, more := shownRecipients(all[:recipientsMost]); len(shown) != recipientsMost || more != "" {
		t.Errorf("%d recipients, and %q", len(shown), more)
	}
	if got := told(&protocol.Error{Code: protocol.CodeAmbiguous, Message: "many", Names: names}).Error(); strings.Contains(got, "bob50") || !strings.Contains(got, "bob49, and 7 more)") {
		t.Errorf("names: %s", got)
	}
}
