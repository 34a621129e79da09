package mcp

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// talk is a client that writes any bytes to a server and reads its lines.
type talk struct {
	*testing.T
	in    *io.PipeWriter
	lines chan string
}

func newTalk(t *testing.T) *talk {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	x := &talk{t, inW, make(chan string, 100)}
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), Config{Mesh: newFakeMesh()}, inR, outW); outW.Close() }()
	go func() {
		lines := bufio.NewScanner(outR)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			x.lines <- lines.Text()
		}
		close(x.lines)
	}()
	t.Cleanup(func() {
		inW.Close()
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("the server ended with: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not end")
		}
	})
	return x
}

// say writes bytes; what answers them is read with hear.
func (x *talk) say(text string) {
	x.Helper()
	if _, err := io.WriteString(x.in, text); err != nil {
		x.Fatalf("the server reads no more: %v", err)
	}
}

type spoken struct {
	ID     any             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func (x *talk) hear() (got spoken) {
	x.Helper()
	select {
	case line, ok := <-x.lines:
		if !ok {
			x.Fatal("the server hung up")
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			x.Fatalf("%q: %v", line, err)
		}
		if !strings.Contains(line, `"id":`) {
			x.Errorf("an answer without an id: %s", line)
		}
		return got
	case <-time.After(20 * time.Second):
		x.Fatal("no answer")
		return got
	}
}

func (x *talk) initialize() {
	x.Helper()
	x.say(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}` + "\n")
	if got := x.hear(); got.Result == nil {
		x.Fatalf("initialize: %+v", got)
	}
	x.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n")
}

// wantTools fails unless the server still has its tools.
func (x *talk) wantTools(id string) {
	x.Helper()
	x.say(`{"jsonrpc":"2.0","id":"` + id + `","method":"tools/call","params":{"name":"list_peers","arguments":{}}}` + "\n")
	if got := x.hear(); got.ID != id || !strings.Contains(string(got.Result), "bob") {
		x.Fatalf("the tools are gone: %+v", got)
	}
}

const (
	parseError     = -32700
	invalidRequest = -32600
)

// A line that is no message is answered, with the id null, and skipped. The tools stay, before the handshake and after it.
func TestLinesThatAreNoMessages(t *testing.T) {
	long := strings.Repeat("x", 17<<20)
	table := []struct {
		name, line string
		code       int
	}{
		{"not JSON", "hello", parseError},
		{"half an object", `{"jsonrpc":"2.0","id":7`, parseError},
		{"two objects", `{"jsonrpc":"2.0","id":7,"method":"ping"}{"jsonrpc":"2.0","id":8,"method":"ping"}`, parseError},
		{"a byte order mark", "\xef\xbb\xbf" + `{"jsonrpc":"2.0","id":7,"method":"ping"}`, parseError},
		{"a header", "Content-Length: 40", parseError},
		{"a header and an end of line", "content-length: 40\r", parseError},
		{"not UTF-8", `{"jsonrpc":"2.0","id":7,"method":"` + "\xff" + `"}`, parseError},
		{"a NUL", "\x00", parseError},
		{"17 MiB", `{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":"` + long + `"}}`, invalidRequest},
		{"17 MiB of no JSON", long, invalidRequest},
		{"nested without end", strings.Repeat("[", 1<<20), parseError},
		{"a batch", `[{"jsonrpc":"2.0","id":7,"method":"ping"}]`, invalidRequest},
		{"an empty batch", `[]`, invalidRequest},
		{"a number", `7`, invalidRequest},
		{"null", `null`, invalidRequest},
		{"a text", `"ping"`, invalidRequest},
		{"an empty object", `{}`, invalidRequest},
		{"another version", `{"jsonrpc":"1.0","id":7,"method":"ping"}`, invalidRequest},
		{"no version", `{"id":7,"method":"ping"}`, invalidRequest},
		{"no method", `{"jsonrpc":"2.0","id":7}`, invalidRequest},
		{"an id that is an object", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, invalidRequest},
		{"a method that is a number", `{"jsonrpc":"2.0","id":7,"method":7}`, invalidRequest},
	}
	for _, test := range table {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			x := newTalk(t)
			for _, when := range []string{"before", "after"} {
				x.say(test.line + "\n")
				if got := x.hear(); got.ID != nil || got.Error == nil || got.Error.Code != test.code {
					t.Fatalf("%s the handshake: %+v", when, got)
				}
				if when == "before" {
					x.initialize()
				}
				x.wantTools(when)
			}
		})
	}
}

// What is a message and makes no sense is the library's to answer. It ends nothing either.
func TestMessagesThatMakeNoSense(t *testing.T) {
	for name, line := range map[string]string{
		"a blank line":                   "  ",
		"an answer to nothing":           `{"jsonrpc":"2.0","id":99,"result":{}}`,
		"an answer to nobody":            `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}`,
		"an unknown notification":        `{"jsonrpc":"2.0","method":"notifications/x","params":[1]}`,
		"a cancel of nothing":            `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}`,
		"a cancel of no id":              `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}`,
		"a cancel without params":        `{"jsonrpc":"2.0","method":"notifications/cancelled"}`,
		"a second end of the handshake":  `{"jsonrpc":"2.0","method":"notifications/initialized","params":7}`,
		"progress of nothing":            `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1e308}}`,
		"a tool with params of no shape": `{"jsonrpc":"2.0","id":"q","method":"tools/call","params":[]}`,
		"a tool that does not exist":     `{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{"name":"x"}}`,
		"arguments of another type":      `{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{"name":"send_message","arguments":{"to":7,"message":{}}}}`,
		"a number beyond all floats":     `{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{"name":"check_messages","arguments":{"limit":1e999}}}`,
		"a huge limit":                   `{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{"name":"check_messages","arguments":{"limit":9223372036854775807}}}`,
		"a negative limit":               `{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{"name":"check_messages","arguments":{"limit":-9223372036854775808}}}`,
		"an unknown method":              `{"jsonrpc":"2.0","id":"q","method":"x/y"}`,
		"a second handshake":             `{"jsonrpc":"2.0","id":"q","method":"initialize","params":{}}`,
		"a fraction for an id":           `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`,
		"an id beyond all floats":        `{"jsonrpc":"2.0","id":1e300,"method":"ping"}`,
		"a name twice":                   `{"jsonrpc":"2.0","id":"q","id":"q2","method":"ping"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTalk(t)
			x.initialize()
			x.say(line + "\n")
			x.say(`{"jsonrpc":"2.0","id":"last","method":"tools/list"}` + "\n")
			for range 3 { // the answer to the line, if it has one, and to the question
				if got := x.hear(); got.ID == "last" && got.Result != nil {
					return
				}
			}
			t.Error("the tools are gone")
		})
	}
}

// A last line without an end counts, and so does a line that comes byte by byte.
func TestLinesWithoutEnd(t *testing.T) {
	x := newTalk(t)
	x.initialize()
	for _, b := range []byte(`{"jsonrpc":"2.0","id":"slow","method":"ping"}` + "\r\n") {
		x.say(string(b))
	}
	if got := x.hear(); got.ID != "slow" {
		t.Errorf("got %+v", got)
	}
	x.say(`{"jsonrpc":"2.0","id":"x","method":"ping"`)
	x.in.Close()
	if got := x.hear(); got.ID != nil || got.Error.Code != parseError {
		t.Errorf("got %+v", got)
	}
}
