package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/mcp"
)

// skillHeadings are the parts of the command table that a session may use for its user, skillLeaves what of them is the user's alone: who is let in,
// and what cannot be taken back.
var (
	skillHeadings = []string{headTalk, headPeople}
	skillLeaves   = []string{"accept", "inbox show", "inbox delete", "inbox flush", "members admit", "peer", "device"}
)

// skillText is the skill that install and the plugin carry; the names of the tools begin with tools. Its verbs come from the command table, so that it cannot tell of one that is not there.
func (a *app) skillText(tools string) string {
	var b strings.Builder
	b.WriteString(`---
name: claudemesh
description: Work with other people's Claude sessions, machines and scripts on an end-to-end encrypted mesh. Use when the user speaks of the mesh, of a peer or a teammate's session, wants to ask or tell somebody elsewhere, or when a cross-session message from claudemesh arrives.
---

# On the mesh

The tools are ` + "`" + tools + "list_peers`, `send_message`, `check_messages`, `save_file`, `set_summary` and `set_status`" + `. They reach other people and machines; the built-in
SendMessage reaches only this user's own sessions.

`)
	b.WriteString(mcp.Etiquette)
	b.WriteString("\n\n## Asking everybody\n\n" + mcp.Asking + "\n\n## In a shell\n\nThe same mesh from scripts; `--json` gives JSON, `claudemesh help <verb>` the flags.\n\n")
	for _, heading := range skillHeadings {
		for _, v := range a.root.subs {
			if v.heading == heading {
				writeVerb(&b, v.name, v)
			}
		}
	}
	b.WriteString("\nAccepting senders, links, and everything else that decides who may reach this session is the user's to type, not yours.\n")
	return b.String()
}

func writeVerb(b *strings.Builder, name string, v *verb) {
	if slices.Contains(skillLeaves, name) {
		return
	}
	if v.run != nil {
		line := strings.TrimSpace("claudemesh " + name + " " + v.args)
		fmt.Fprintf(b, "- `%s`: %s\n", line, v.usage)
	}
	for _, s := range v.subs {
		writeVerb(b, name+" "+s.name, s)
	}
}
