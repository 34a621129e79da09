package claude

import (
	"encoding/json"
	"strings"
	"testing"
)

var layouts = map[string]string{
	"two spaces":     "{\n  \"model\": \"opus\",\n  \"hooks\": {\n    \"Stop\": [\n      {\"hooks\": []}\n    ]\n  },\n  \"zeta\":   [1,2 , 3]\n}\n",
	"tabs, no end":   "{\n\t\"b\": {},\n\t\"a\": \"x \\\" } ]\"\n}",
	"windows":        "{\r\n    \"a\": 1\r\n}\r\n",
	"one line":       `{"a":1,"b":{"c":[]}}`,
	"one line, airy": `{ "a": 1, "b": { "c": [] } }`,
	"empty":          "{}",
	"empty, spread":  "{\n}\n",
	"nothing":        "",
	"duplicate keys": "{\n  \"mcpServers\": {},\n  \"mcpServers\": {\"other\": {}}\n}\n",
}

var entry = map[string]any{"type": "stdio", "command": "claudemesh", "args": []string{"mcp"}}

// What is inserted can be read, everything else is untouched, and taking it out gives the old text back, byte for byte, wherever a container existed.
func TestInsertAndRemove(t *testing.T) {
	for name, before := range layouts {
		d, err := parseDocument([]byte(before))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		original := string(d.text)
		if err := d.set([]string{"mcpServers", "claudemesh"}, entry); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := d.appendItem([]string{"hooks", "Stop"}, map[string]any{"hooks": []any{map[string]any{"command": "claudemesh hook stop"}}}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !json.Valid(d.text) {
			t.Fatalf("%s: not valid after the edit:\n%s", name, d.text)
		}
		var got map[string]any
		if !d.get([]string{"mcpServers", "claudemesh"}, &got) || got["command"] != "claudemesh" {
			t.Errorf("%s: not found after the edit:\n%s", name, d.text)
		}
		changed := string(d.text)
		if err := d.set([]string{"mcpServers", "claudemesh"}, entry); err != nil || string(d.text) != changed {
			t.Errorf("%s: setting it again changed something:\n%s", name, d.text)
		}
		d.remove([]string{"mcpServers", "claudemesh"})
		if n := d.removeItems([]string{"hooks", "Stop"}, func(b json.RawMessage) bool { return strings.Contains(string(b), "claudemesh hook") }); n != 1 {
			t.Errorf("%s: %d items removed, want 1", name, n)
		}
		for _, path := range [][]string{{"hooks", "Stop"}, {"hooks"}, {"mcpServers"}} {
			d.removeEmpty(path)
		}
		if name == "empty, spread" {
			original = "{}\n" // the one layout that the text does not tell once something was in it
		}
		if string(d.text) != original {
			t.Errorf("%s: not as it was:\n%q\nwant\n%q", name, d.text, original)
		}
	}
}

func TestLayoutIsFollowed(t *testing.T) {
	d, _ := parseDocument([]byte("{\n\t\"b\": {},\n\t\"a\": 1\n}"))
	d.set([]string{"b", "n"}, map[string]any{"x": "<&>"})
	if want := "{\n\t\"b\": {\n\t\t\"n\": {\n\t\t\t\"x\": \"<&>\"\n\t\t}\n\t},\n\t\"a\": 1\n}"; string(d.text) != want {
		t.Errorf("got\n%s\nwant\n%s", d.text, want)
	}
}

func TestWhatDoesNotParseIsRefused(t *testing.T) {
	for _, bad := range []string{"{", "[]", "{\"a\":1,}", "// comment\n{}", "null null"} {
		if _, err := parseDocument([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	d, _ := parseDocument([]byte(`{"mcpServers":[],"hooks":{"Stop":{}}}`))
	if d.set([]string{"mcpServers", "claudemesh"}, entry) == nil {
		t.Error("a list was taken for an object")
	}
	if d.appendItem([]string{"hooks", "Stop"}, entry) == nil {
		t.Error("an object was taken for a list")
	}
}

func FuzzEdit(f *testing.F) {
	for _, l := range layouts {
		f.Add([]byte(l))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDocument(b)
		if err != nil {
			return
		}
		before := string(d.text)
		_, had := d.find([]string{"mcpServers"})
		if d.set([]string{"mcpServers", "claudemesh"}, entry) != nil {
			return
		}
		if !json.Valid(d.text) {
			t.Fatalf("%q became %q", before, d.text)
		}
		if !had {
			d.remove([]string{"mcpServers"})
			if !sameText(before, string(d.text)) {
				t.Fatalf("%q became %q", before, d.text)
			}
		}
	})
}

// sameText allows for the space inside an empty object, which goes when something is put there.
func sameText(a, b string) bool {
	if a == b {
		return true
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	return strings.HasPrefix(strings.TrimSpace(a), "{") && squeeze(a) == squeeze(b) && squeeze(b) == "{}"
}
