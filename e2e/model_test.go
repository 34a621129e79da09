//go:build claude

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// model stands in for the model's API: it answers POST /v1/messages with what a script says, in the event stream that the client expects.
type model struct {
	url    string
	script func(asked) reply

	mu   sync.Mutex
	seen []asked
	more chan struct{}
}

// asked is one request of the client, as far as scripts look at it.
type asked struct {
	At       time.Time
	System   string
	Tools    []string
	Messages []turn
}

type turn struct {
	Role string
	Text string // all text and tool results of the turn
}

// fresh is what came since the model spoke last.
func (a asked) fresh() string {
	var b strings.Builder
	for _, m := range a.Messages {
		if m.Role == "assistant" {
			b.Reset()
			continue
		}
		b.WriteString(m.Text)
	}
	return b.String()
}

// all is the whole conversation.
func (a asked) all() string {
	var b strings.Builder
	for _, m := range a.Messages {
		b.WriteString(m.Text)
	}
	return b.String()
}

// reply is what the model says: text, or a call of a tool.
type reply struct {
	Text  string
	Tool  string
	Input any
	Read  int // tokens that the model says it read; one by default
}

func newModel(t *testing.T, script func(asked) reply) *model {
	t.Helper()
	m := &model{script: script, more: make(chan struct{})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.url = "http://" + ln.Addr().String()
	srv := &http.Server{Handler: m}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return m
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/v1/messages") {
		w.Header().Set("content-type", "application/json")
		io.WriteString(w, `{"input_tokens":1}`)
		return
	}
	body, _ := io.ReadAll(r.Body)
	a, stream := parseAsked(body)
	if len(a.Tools) == 0 { // titles and the like
		answer(w, stream, reply{Text: "ok"})
		return
	}
	m.mu.Lock()
	m.seen = append(m.seen, a)
	close(m.more)
	m.more = make(chan struct{})
	m.mu.Unlock()
	answer(w, stream, m.script(a))
}

// want waits until a request for which ok holds has come.
func (m *model) want(t *testing.T, what string, within time.Duration, ok func(asked) bool) asked {
	t.Helper()
	deadline := time.After(within)
	for i := 0; ; {
		m.mu.Lock()
		for ; i < len(m.seen); i++ {
			if ok(m.seen[i]) {
				defer m.mu.Unlock()
				return m.seen[i]
			}
		}
		more := m.more
		m.mu.Unlock()
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("the model was not asked within %v: %s", within, what)
		}
	}
}

func parseAsked(body []byte) (asked, bool) {
	var req struct {
		Stream   bool
		System   json.RawMessage
		Tools    []struct{ Name string }
		Messages []struct {
			Role    string
			Content json.RawMessage
		}
	}
	json.Unmarshal(body, &req)
	a := asked{At: time.Now(), System: string(req.System)}
	for _, t := range req.Tools {
		a.Tools = append(a.Tools, t.Name)
	}
	for _, m := range req.Messages {
		a.Messages = append(a.Messages, turn{m.Role, flatten(m.Content)})
	}
	return a, req.Stream
}

// flatten collects the text of a content field, which is a string or a list of blocks.
func flatten(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var blocks []struct {
		Type, Text string
		Content    json.RawMessage
	}
	json.Unmarshal(raw, &blocks)
	var b strings.Builder
	for _, bl := range blocks {
		b.WriteString(bl.Text)
		if bl.Content != nil {
			b.WriteString(flatten(bl.Content))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func answer(w http.ResponseWriter, stream bool, r reply) {
	block, delta, stop := map[string]any{"type": "text", "text": ""}, map[string]any{"type": "text_delta", "text": r.Text}, "end_turn"
	if r.Tool != "" {
		input, _ := json.Marshal(r.Input)
		block = map[string]any{"type": "tool_use", "id": fmt.Sprintf("toolu_%d", time.Now().UnixNano()), "name": r.Tool, "input": map[string]any{}}
		delta, stop = map[string]any{"type": "input_json_delta", "partial_json": string(input)}, "tool_use"
	}
	message := map[string]any{"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": []any{}, "stop_reason": nil, "usage": map[string]any{"input_tokens": max(r.Read, 1), "output_tokens": 1}}
	if !stream {
		if r.Tool == "" {
			block["text"] = r.Text
		} else {
			block["input"] = r.Input
		}
		message["content"], message["stop_reason"] = []any{block}, stop
		w.Header().Set("content-type", "application/json")
		json.NewEncoder(w).Encode(message)
		return
	}
	w.Header().Set("content-type", "text/event-stream")
	event := func(name string, v map[string]any) {
		v["type"] = name
		b, _ := json.Marshal(v)
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, b)
		w.(http.Flusher).Flush()
	}
	event("message_start", map[string]any{"message": message})
	event("content_block_start", map[string]any{"index": 0, "content_block": block})
	event("content_block_delta", map[string]any{"index": 0, "delta": delta})
	event("content_block_stop", map[string]any{"index": 0})
	event("message_delta", map[string]any{"delta": map[string]any{"stop_reason": stop}, "usage": map[string]any{"output_tokens": 1}})
	event("message_stop", map[string]any{})
}
