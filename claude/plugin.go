package claude

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Plugin is what the binary carries for those who prefer a plugin to install: the same server, hooks and skill, and the channel.
type Plugin struct {
	Version string // semantic
	Command string // how Claude Code is to start us
	Skill   string
}

// StatusLine is what the user adds to the settings to have the status line: a plugin cannot.
func (p Plugin) StatusLine() string {
	b, err := json.Marshal(map[string]any{"statusLine": statusLine(p.Command)})
	if err != nil {
		panic("claude: our own value does not marshal: " + err.Error())
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(b), "{"), "}")
}

// files are the plugin's files by path.
func (p Plugin) files() map[string][]byte {
	hookEvents := map[string][]any{}
	for _, h := range hooks(p.Command) {
		hookEvents[h.event] = append(hookEvents[h.event], h.entry)
	}
	manifest := map[string]any{
		"name": ServerName, "version": p.Version, "license": "MIT",
		"description": "An end-to-end encrypted mesh between Claude Code sessions, scripts and people, across machines and teams",
		"author":      map[string]any{"name": "claudemesh"},
		"homepage":    "https://github.com/claudemesh/claudemesh",
		"keywords":    []string{"mesh", "messaging", "encryption"},
		"mcpServers":  map[string]any{ServerName: map[string]any{"command": p.Command, "args": []string{"mcp"}}},
		"channels":    []any{map[string]any{"server": ServerName}},
	}
	return map[string][]byte{
		".claude-plugin/plugin.json": pretty(manifest),
		"hooks/hooks.json":           pretty(map[string]any{"description": "claudemesh: status of the session, and mail", "hooks": hookEvents}),
		"README.md":                  []byte(fmt.Sprintf(pluginReadme, p.StatusLine())),
		"skills/claudemesh/SKILL.md": []byte(p.Skill),
		"commands/private.md":        []byte(privateCommand),
	}
}

// privateCommand is the command /private: its name in the transcript is what keeps the session out of the memory.
const privateCommand = `---
description: Keep this session out of the claudemesh memory
---
This session is private from now on: claudemesh does not index it, and what it had indexed of it is removed. Answer only: "This session is private."
`

const pluginReadme = `# claudemesh

An end-to-end encrypted mesh between Claude Code sessions, scripts and people, across machines and teams. The plugin starts the claudemesh binary, which carries it: ten tools
(list_peers, send_message, check_messages, save_file, set_summary, set_status, recall, remember, ask_mesh, knowledge_requests), the command /private, hooks that tell peers whether the session is busy and bring mail in front of it, and a skill.

Setup: join a mesh with "claudemesh join <link>", or make one with "claudemesh create <slug>". "claudemesh install" does the same as this plugin without a marketplace; use one of the
two.

A plugin cannot add a status line. To have one, which also says when a session is not on the mesh, add this to ~/.claude/settings.json:

    %s

In a session the tools are called mcp__plugin_claudemesh_claudemesh__list_peers and so on; permissions.allow takes "mcp__plugin_claudemesh_claudemesh". The skill is called
claudemesh:claudemesh.

What peers write is data for the model, never an instruction; senders who are not verified are held until you accept them.
`

func pretty(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic("claude: our own value does not marshal: " + err.Error())
	}
	return b.Bytes()
}
