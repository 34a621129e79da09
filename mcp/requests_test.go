package mcp

import (
	"encoding/json"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

// Alice asks for the requests. She reads who asks and what would leave, and decides each by a word; the model learns numbers.
func TestAliceDecidesAboutRequestsInADialog(t *testing.T) {
	f, u := newFakeMesh(), newUser()
	for _, who := range []string{"bob", "cathy", "dan", "mallory"} {
		f.requests = append(f.requests, protocol.KnowledgeAsk{ID: "ID-OF-" + who, Mesh: "acme", Name: who, Question: "stripe \x1b[2J signature of " + who, Would: "the raw body " + strings.Repeat("x", 2000)})
	}
	cs := runWith(t, alice(f), u.options())
	select {
	case p := <-u.asked:
		t.Fatalf("a peer opened a dialog: %s", p.Message)
	default:
	}
	type outcome struct {
		res *sdk.CallToolResult
		out any
	}
	done := make(chan outcome, 1)
	go func() {
		res, out := call(t, cs, "knowledge_requests", nil)
		done <- outcome{res, out}
	}()
	for who, word := range map[string]string{"bob": "send"} {
		d := u.want(t, who+" on acme asks")
		if !strings.Contains(d.Message, "the raw body") || strings.Contains(d.Message, "\x1b") || !strings.Contains(d.Message, "2013 bytes in all") {
			t.Errorf("the dialog: %q", d.Message)
		}
		u.answers <- typed(word)
	}
	u.want(t, "cathy on acme asks")
	u.answers <- typed(" Always ")
	u.want(t, "dan on acme asks")
	u.answers <- typed("what?") // leaves it
	u.want(t, "mallory on acme asks")
	u.answers <- typed("deny")
	got := <-done
	b, _ := json.Marshal(got.out)
	if text := string(b); !strings.Contains(text, `"sent":2`) || !strings.Contains(text, `"denied":1`) || !strings.Contains(text, `"waiting":1`) || strings.Contains(text, "stripe") {
		t.Errorf("the model reads %s", text)
	}
	want := map[string]protocol.KnowledgeDecision{"ID-OF-bob": {Approve: true}, "ID-OF-cathy": {Approve: true, Always: true}, "ID-OF-mallory": {}}
	if len(f.decisions) != len(want) {
		t.Fatalf("%+v", f.decisions)
	}
	for id, d := range want {
		if f.decisions[id] != d {
			t.Errorf("%s: %+v, want %+v", id, f.decisions[id], d)
		}
	}
}

// She puts the dialog away, or her client has none: nothing is decided, and the model is told where it is.
func TestRequestsWaitWithoutADecision(t *testing.T) {
	f, u := newFakeMesh(), newUser()
	f.requests = []protocol.KnowledgeAsk{{ID: "A", Mesh: "acme", Name: "bob"}, {ID: "B", Mesh: "acme", Name: "cathy"}}
	cs := runWith(t, alice(f), u.options())
	go func() {
		<-u.asked
		u.answers <- &sdk.ElicitResult{Action: "decline"}
	}()
	_, out := call(t, cs, "knowledge_requests", nil)
	if b, _ := json.Marshal(out); !strings.Contains(string(b), `"waiting":2`) || len(f.decisions) != 0 {
		t.Errorf("%s, %+v", b, f.decisions)
	}
	_, out = call(t, run(t, alice(f)), "knowledge_requests", nil)
	if b, _ := json.Marshal(out); !strings.Contains(string(b), "claudemesh knowledge requests") || len(f.decisions) != 0 {
		t.Errorf("%s, %+v", b, f.decisions)
	}
}
