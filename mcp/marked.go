package mcp

import (
	"regexp"
	"strings"
)

// labelEnd is the end of a label, which is the end of a line.
var labelEnd = regexp.MustCompile(` \[[^\[\]]*?; (` + textBelow + `)?` + ownMark + `([a-z2-7]{13}); reply_to "([0-9A-Za-z_-]{16,64})"\]$`)

// Marked returns the ids of the messages that a prompt holds as Wrap or a channel wrote them: what an agent hands to its prompt hook
// it shows to the model. A label without the end that has its boundary was cut off, and what stands between the two is a peer's.
func Marked(prompt string) (ids []string) {
	for _, p := range parted(prompt) {
		ids = append(ids, p.id)
	}
	return ids
}

// part is one message in a prompt: what the label says, and the text.
type part struct {
	id, label, text string
}

// parted finds the messages in a prompt.
func parted(prompt string) (found []part) {
	for len(prompt) > 0 {
		line, rest, _ := strings.Cut(prompt, "\n")
		prompt = rest
		at := labelEnd.FindStringSubmatchIndex(line)
		if at == nil {
			continue
		}
		p := part{id: line[at[6]:at[7]], label: line[at[0]+1:], text: line[:at[0]]}
		end := endHead + line[at[4]:at[5]] + endTail // and perhaps where the exact text is
		switch i := strings.Index("\n"+rest, "\n"+end); {
		case i < 0:
			continue
		case at[2] >= 0:
			p.text = strings.TrimSuffix(rest[:i], "\n")
			prompt = rest[i+len(end):]
		case i == 0:
			prompt = rest[len(end):]
		default:
			continue // of a text that stands in the line itself the end is the next line
		}
		found = append(found, p)
	}
	return found
}
