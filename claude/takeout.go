package claude

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
)

// takeOut removes what is recognised as ours: entries that were changed by hand, and those that nobody remembers.
func (t *target) takeOut(d *document) {
	if t.Kind == kindState {
		t.takeOutServer(d)
		return
	}
	removed := false
	for _, event := range events {
		n := t.takeOutHooks(d, []string{"hooks", event})
		t.dropContainer(d, []string{"hooks", event}, n)
		removed = removed || n
	}
	t.dropContainer(d, []string{"hooks"}, removed)
	var line map[string]any
	if d.get([]string{"statusLine"}, &line) {
		if command, ok := line["command"].(string); ok && t.ours(command) {
			d.remove([]string{"statusLine"})
		}
	}
}

// takeOutServer removes our server. One that stood in its place comes back.
func (t *target) takeOutServer(d *document) {
	path := []string{"mcpServers", ServerName}
	var server struct {
		Command string
		Args    []string
	}
	ours := d.get(path, &server) && t.isServer(server.Command, server.Args)
	i := slices.IndexFunc(t.Pieces, func(p piece) bool { return p.Value && slices.Equal(p.Path, path) })
	switch at, _ := d.find(path); {
	case ours && i >= 0:
		d.replace(at, []byte(t.Pieces[i].Was))
	case ours:
		d.remove(path)
	}
	t.dropContainer(d, path[:1], ours)
}

func (t *target) isServer(command string, args []string) bool {
	return len(args) == 1 && args[0] == "mcp" && (command == t.Command || isBinary(command))
}

// takeOutHooks removes our commands from the entries of an event, and entries that had no others. True: there were some.
func (t *target) takeOutHooks(d *document, path []string) bool {
	own := func(hook json.RawMessage) bool {
		var h struct{ Command string }
		return json.Unmarshal(hook, &h) == nil && t.ours(h.Command)
	}
	found := d.removeItems(path, func(item json.RawMessage) bool { return t.isOurs(item) }) > 0
	list, ok := d.find(path)
	if !ok || d.text[list.start] != '[' {
		return found
	}
	entries := items(d.text, list)
	for i := len(entries) - 1; i >= 0; i-- { // from the end: what is before keeps its place
		entry, err := parseDocument(d.text[entries[i].start:entries[i].end])
		if err == nil && entry.removeItems([]string{"hooks"}, own) > 0 {
			d.replace(entries[i], entry.text)
			found = true
		}
	}
	return found
}

// dropContainer removes an empty container that was made for ours; where nobody remembers, one that ours alone filled.
func (t *target) dropContainer(d *document, path []string, emptied bool) {
	made := slices.ContainsFunc(t.Pieces, func(p piece) bool { return !p.Value && !p.Item && slices.Equal(p.Path, path) })
	if made || len(t.Pieces) == 0 && emptied {
		d.removeEmpty(path)
	}
}

// isOurs recognises an entry whose every command is ours.
func (t *target) isOurs(item json.RawMessage) bool {
	var e struct {
		Hooks []struct{ Command string }
	}
	if json.Unmarshal(item, &e) != nil || len(e.Hooks) == 0 {
		return false
	}
	return !slices.ContainsFunc(e.Hooks, func(h struct{ Command string }) bool { return !t.ours(h.Command) })
}

// ours says whether a shell command starts our binary as a hook or status line, under the path that we know or any other.
func (t *target) ours(command string) bool {
	return ownCommand(command) || t.Command != "" && (strings.HasPrefix(command, quote(t.Command)+" hook ") || command == quote(t.Command)+" statusline")
}

// ownCommand is ours for any path of the binary.
func ownCommand(command string) bool {
	program, rest, ok := strings.Cut(command, " hook ")
	if !ok {
		program, ok = strings.CutSuffix(command, " statusline")
		rest = "x"
	}
	return ok && isBinary(strings.Trim(program, "'")) && rest != ""
}

func isBinary(path string) bool {
	return strings.TrimSuffix(filepath.Base(filepath.ToSlash(path)), ".exe") == "claudemesh"
}
