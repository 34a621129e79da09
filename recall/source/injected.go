package source

import (
	"regexp"
	"strings"
)

// What the client writes into a user's turn (Claude Code 2.1.330 and 2.1.332, and older ones).
var (
	reminders = regexp.MustCompile(`(?s)<(system-reminder|local-command-caveat|local-command-stdout|local-command-stderr|task-notification|user-prompt-submit-hook|` +
		`ide_opened_file|ide_selection|ide_diagnostics|new-diagnostics|post-tool-use-hook|session-start-hook|command-message|command-contents)\b[^>]*>.*?(?:</(?:` +
		`system-reminder|local-command-caveat|local-command-stdout|local-command-stderr|task-notification|user-prompt-submit-hook|ide_opened_file|ide_selection|` +
		`ide_diagnostics|new-diagnostics|post-tool-use-hook|session-start-hook|command-message|command-contents)>|\z)`)
	commandName = regexp.MustCompile(`(?s)<command-name>\s*(.*?)\s*</command-name>`)
	commandArgs = regexp.MustCompile(`(?s)<command-args>\s*(.*?)\s*</command-args>`)
	bashInput   = regexp.MustCompile(`(?s)<bash-input>(.*?)</bash-input>`)
	bashOutput  = regexp.MustCompile(`(?s)<bash-(?:stdout|stderr)>(.*?)</bash-(?:stdout|stderr)>`)
)

// peerMarks begin a user's turn that somebody else wrote: a message of another session or of the mesh.
var peerMarks = []string{"<cross-session-message", "<channel ", "<teammate-message", "[claudemesh"}

// prompt is what a user's turn says once everything injected is gone.
type prompt struct {
	text    string // what the person typed
	command string // a shell command typed with "!"
	output  string // of such a command
	private bool   // the person declared the session private
	peer    bool   // somebody else's words
}

func readPrompt(s string) prompt {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = reminders.ReplaceAllString(s, "")
	p := prompt{private: isPrivate(s)}
	trimmed := strings.TrimSpace(s)
	for _, mark := range peerMarks {
		if strings.HasPrefix(trimmed, mark) {
			p.peer = true
			return p
		}
	}
	if strings.Contains(s, "<cross-session-message") {
		p.peer = true
		return p
	}
	if m := bashInput.FindStringSubmatch(s); m != nil {
		p.command = strings.TrimSpace(m[1])
		return p
	}
	if outs := bashOutput.FindAllStringSubmatch(s, -1); outs != nil {
		for _, m := range outs {
			p.output += m[1] + "\n"
		}
		return p
	}
	if m := commandName.FindStringSubmatch(s); m != nil {
		p.text = m[1]
		if args := commandArgs.FindStringSubmatch(s); args != nil && args[1] != "" {
			p.text += " " + args[1]
		}
		return p
	}
	if strings.HasPrefix(trimmed, "[Request interrupted by user") || strings.HasPrefix(trimmed, "Caveat: The messages below") {
		return p
	}
	p.text = trimmed
	return p
}

// Private reports whether a prompt declares its session private: the command /private, alone or as
// the client expands it, from our plugin or from the user's own commands.
func Private(typed string) bool { return isPrivate(typed) }

func isPrivate(s string) bool {
	name := strings.TrimSpace(s)
	if m := commandName.FindStringSubmatch(s); m != nil {
		name = m[1]
	}
	name, ok := strings.CutPrefix(name, "/")
	return ok && (name == "private" || name == "claudemesh:private" || name == "mcp__claudemesh__private")
}
