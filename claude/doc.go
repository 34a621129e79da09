// Package claude adds claudemesh to Claude Code's files and removes it again: the MCP server, the
// hooks, the skill, the status line, and the plugin that is embedded in the executable.
//
// Every change is planned first and shown as a diff. Files are changed by inserting bytes and never
// rewritten, so unknown keys, their order and their formatting stay as the user made them. A record
// beside Claude Code's own files says what was inserted into each file. If nobody else touched a
// file, Uninstall restores the original bytes. Otherwise it removes the pieces that are unchanged,
// then what it recognises as ours, and leaves the rest. A failed install undoes its changes. A file
// that does not parse is left alone.
package claude
