// Package claude puts claudemesh into Claude Code's files and takes it out again: the MCP server, hooks, the skill, the status line, and the plugin
// that the binary carries.
//
// Every change is planned first and shown as a diff. A file is changed by inserting bytes and never by writing it anew, so keys that we do not know,
// their order and their formatting stay as the user made them. The file as it was is kept once, beside a record of what we made of it: as long as nobody touched the
// file since, Uninstall puts the very bytes back; otherwise it removes our members and leaves the rest. A file that does not parse is left alone.
package claude
