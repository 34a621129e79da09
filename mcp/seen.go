package mcp

import (
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

// Line is a message in one line for the person's screen: the beginning of the text, and who wrote it.
func Line(m protocol.InboxMessage) string {
	body, escaped := escapeText(m.Body)
	who := " [" + provenance(m, escaped, false) + "]"
	return lineOf(body, who)
}

// Lines are the messages that a prompt holds, as Line writes them.
func Lines(prompt string) (lines []string) {
	for _, p := range parted(prompt) {
		who, _, _ := strings.Cut(p.label, ";")
		lines = append(lines, lineOf(p.text, " "+who+"]"))
	}
	return lines
}

func lineOf(body, who string) string {
	room := max(previewLeast, previewWidth-columns(who))
	if fitsLine(body, room) {
		return strings.TrimSpace(body) + who
	}
	return preview(body, room) + who
}

// Beginning is the beginning of a text on one line of a screen.
func Beginning(text string) string {
	body, _ := escapeText(text)
	return lineOf(body, "")
}
