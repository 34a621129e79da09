package protocol

import (
	"strings"
	"testing"
)

func TestNormalizeBrokerURL(t *testing.T) {
	for typed, want := range map[string]string{
		"mesh.example.com":               "wss://mesh.example.com/ws",
		" mesh.example.com \n":           "wss://mesh.example.com/ws",
		"Mesh.Example.com:8443":          "wss://mesh.example.com:8443/ws",
		"mesh.example.com/":              "wss://mesh.example.com/ws",
		"mesh.example.com:":              "wss://mesh.example.com/ws",
		"https://mesh.example.com":       "wss://mesh.example.com/ws",
		"HTTPS://mesh.example.com/team/": "wss://mesh.example.com/team/ws",
		"https://mesh.example.com/mesh":  "wss://mesh.example.com/mesh/ws",
		"mesh.example.com/a/b":           "wss://mesh.example.com/a/b/ws",
		"https://mesh.example.com/a/ws":  "wss://mesh.example.com/a/ws",
		"https://mesh.example.com/a/ws/": "wss://mesh.example.com/a/ws",
		"https://mesh.example.com/news":  "wss://mesh.example.com/news/ws",
		"https://h.example/a%2Fb":        "wss://h.example/a%2Fb/ws",
		"http://mesh.example.com:7900":   "ws://mesh.example.com:7900/ws",
		"wss://mesh.example.com/ws":      "wss://mesh.example.com/ws",
		"ws://10.0.0.1:7900/ws":          "ws://10.0.0.1:7900/ws",
		"localhost:7900":                 "ws://localhost:7900/ws",
		"127.0.0.1":                      "ws://127.0.0.1/ws",
		"[::1]:7900":                     "ws://[::1]:7900/ws",
		"[2001:DB8::1]":                  "wss://[2001:db8::1]/ws",
		"wss://localhost":                "wss://localhost/ws",
	} {
		got, err := NormalizeBrokerURL(typed)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", typed, got, err, want)
			continue
		}
		if again, err := NormalizeBrokerURL(got); err != nil || again != got {
			t.Errorf("%q once more: %q, %v", got, again, err)
		}
		if err := CheckBrokerURL(got, true); err != nil {
			t.Errorf("%q: %v", got, err)
		}
	}
	for _, bad := range []string{
		"", " ", "://", "ftp://host", "wss://", "/ws", ":7900", "host:0", "host:70000", "host:port", "a b", "a|b", "bücher.example",
		"user:pass@host", "user@host", "host?x=1", "host?", "host#x", "host/%zz", "[::1", "ws:host", "host\x00", "a/\x7f",
	} {
		got, err := NormalizeBrokerURL(bad)
		if wantCode(t, err, CodeInvalid); got != "" {
			t.Errorf("%q became %q", bad, got)
		}
	}
}

func TestCheckBrokerURL(t *testing.T) {
	for u, want := range map[string]struct{ secure, insecure Code }{
		"wss://mesh.example.com/ws":         {"", ""},
		"wss://mesh.example.com":            {"", ""},
		"ws://localhost:7900/ws":            {"", ""},
		"ws://api.localhost/ws":             {"", ""},
		"ws://127.8.9.1:7900/ws":            {"", ""},
		"ws://[::1]:7900/ws":                {"", ""},
		"ws://mesh.example.com/ws":          {CodeForbidden, ""},
		"ws://localhost.example.com/ws":     {CodeForbidden, ""},
		"ws://10.0.0.1/ws":                  {CodeForbidden, ""},
		"ws://0.0.0.0/ws":                   {CodeForbidden, ""},
		"https://mesh.example.com/ws":       {CodeInvalid, CodeInvalid},
		"wss://user@mesh.example.com/ws":    {CodeInvalid, CodeInvalid},
		"ws://localhost@evil.example/ws":    {CodeInvalid, CodeInvalid},
		"wss://mesh.example.com/ws?x":       {CodeInvalid, CodeInvalid},
		"wss://a b":                         {CodeInvalid, CodeInvalid},
		"wss://" + strings.Repeat("h", 251): {CodeInvalid, CodeInvalid},
		"":                                  {CodeInvalid, CodeInvalid},
	} {
		wantCode(t, CheckBrokerURL(u, false), want.secure)
		wantCode(t, CheckBrokerURL(u, true), want.insecure)
	}
}

// One address has one meaning: what a link says is the same broker over HTTP and as a WebSocket.
func TestPartsOfBrokerURL(t *testing.T) {
	for u, want := range map[string][4]string{
		"wss://Mesh.Example.com/ws":     {"mesh.example.com", "https://Mesh.Example.com", "wss://Mesh.Example.com/ws", ""},
		"wss://mesh.example.com:443/ws": {"mesh.example.com:443", "https://mesh.example.com:443", "wss://mesh.example.com:443/ws", ""},
		"ws://127.0.0.1:7900/ws":        {"127.0.0.1:7900", "http://127.0.0.1:7900", "ws://127.0.0.1:7900/ws", ""},
		"ws://[::1]:7900/a/ws":          {"[::1]:7900", "http://[::1]:7900/a", "ws://[::1]:7900/a/ws", "/a"},
		"wss://mesh.example.com/a/":     {"mesh.example.com", "https://mesh.example.com/a", "wss://mesh.example.com/a/ws", "/a"},
		"wss://mesh.example.com/a":      {"mesh.example.com", "https://mesh.example.com/a", "wss://mesh.example.com/a/ws", "/a"},
		"wss://mesh.example.com/a/b/ws": {"mesh.example.com", "https://mesh.example.com/a/b", "wss://mesh.example.com/a/b/ws", "/a/b"},
		"wss://mesh.example.com":        {"mesh.example.com", "https://mesh.example.com", "wss://mesh.example.com/ws", ""},
		"https://mesh.example.com/ws":   {"", "", "", ""},
		"nonsense":                      {"", "", "", ""},
	} {
		if got := WebSocketURL(u); got != want[2] {
			t.Errorf("%s: WebSocket %q, want %q", u, got, want[2])
		}
		if got := PathPrefix(u); got != want[3] {
			t.Errorf("%s: prefix %q, want %q", u, got, want[3])
		}
		if got := BrokerHost(u); got != want[0] {
			t.Errorf("%s: host %q, want %q", u, got, want[0])
		}
		if got := HTTPBase(u); got != want[1] {
			t.Errorf("%s: base %q, want %q", u, got, want[1])
		}
		if got := BrokerHost(u); got != "" && !validHost(got) {
			t.Errorf("%s: host %q breaks the rule of hello", u, got)
		}
	}
}
