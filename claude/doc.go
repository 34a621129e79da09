// Package claude puts claudemesh into Claude Code's files and takes it out again: the MCP server, hooks, the skill, the status line, and the plugin
// that the binary carries.
//
// Every change is planned first and shown as a diff. A file is changed by inserting bytes and never by writing it anew, so keys
// that we do not know, their order and their formatting stay as the user made them. What was put in is remembered for each file,
// beside Claude Code's own files: as long as nobody else touched the file, Uninstall puts the very bytes back; otherwise it takes
// out the pieces that are still as they were put in, then what is recognised as ours, and leaves the rest. An install that fails
// takes back what it did. A file that does not parse is left alone.
package claude
