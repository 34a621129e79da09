package mcp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

func TestRecallCostsTheModelLittle(t *testing.T) {
	f := newFakeMesh()
	for range 20 {
		f.memory.Hits = append(f.memory.Hits, protocol.RecallHit{ID: 7, Kind: "turn", Excerpt: strings.Repeat("x", recallExcerpt), Files: make([]string, 40)})
	}
	c := run(t, Config{Mesh: f, Session: protocol.SessionRequest{ID: "s", Cwd: "/p"}})
	recalled := func(args map[string]any) string {
		t.Helper()
		_, out := call(t, c, "recall", args)
		b, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	text := recalled(map[string]any{"question": "stripe signature", "terms": []string{"400"}, "limit": 1000})
	if len(text) > 2*recallTotal || !strings.Contains(text, `"id":7`) {
		t.Errorf("%d bytes: %.200s", len(text), text)
	}
	if r := f.recalled[0]; r.Query != "stripe signature" || len(r.Terms) != 1 || r.Limit != 20 {
		t.Errorf("%+v", r)
	}
	f.memory = protocol.RecallReply{Indexing: true}
	if text := recalled(map[string]any{"question": "x"}); !strings.Contains(text, "still being read") {
		t.Error(text)
	}
	f.memory = protocol.RecallReply{}
	if text := recalled(map[string]any{"question": "x"}); !strings.Contains(text, "nothing found") {
		t.Error(text)
	}
}

func TestRememberSaysWhoWrote(t *testing.T) {
	f := newFakeMesh()
	c := run(t, Config{Mesh: f, Session: protocol.SessionRequest{ID: "s", Cwd: "/p"}})
	call(t, c, "remember", map[string]any{"note": "heron restores staging"})
	if n := f.noted[0]; n.By != "model" || n.Dir != "/p" || n.Session != "s" || n.Text != "heron restores staging" {
		t.Errorf("%+v", n)
	}
}
