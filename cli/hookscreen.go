package cli

import (
	"encoding/json"
	"strings"

	"github.com/claudemesh/claudemesh/claude"
	"github.com/claudemesh/claudemesh/mcp"
	"github.com/claudemesh/claudemesh/protocol"
)

// screenMost is how many messages one event puts on the person's screen.
const screenMost = 6

// onScreen is what the person is told beside the model: the client shows nothing of what a hook adds to the context, of what wakes a session
// by a background hook, and of a call of our tools but that there was one.
func onScreen(in *hookEvent, added []protocol.InboxMessage) string {
	var lines []string
	for _, m := range added {
		lines = append(lines, mcp.Line(m))
	}
	switch {
	case strings.HasPrefix(strings.TrimSpace(in.Prompt), "<task-notification"):
		lines = append(lines, mcp.Lines(in.Prompt)...)
	case claude.OwnTool(in.ToolName) == "send_message":
		lines = append(lines, sentByTool(in)...)
	case claude.OwnTool(in.ToolName) == "check_messages":
		lines = append(lines, readByTool(in)...)
	}
	if more := len(lines) - screenMost; more > 0 {
		lines = append(lines[:screenMost], "… and "+plural(more, "more message"))
	}
	return strings.Join(lines, "\n")
}

// sentByTool says what a session sent, to whom, and how far it came.
func sentByTool(in *hookEvent) []string {
	var input struct{ Message string }
	var sent struct {
		State      string
		Recipients []struct{ Name string }
	}
	if json.Unmarshal(in.ToolInput, &input) != nil || !in.toolResult(&sent) || sent.State == "" {
		return nil
	}
	var to []string
	for _, r := range sent.Recipients {
		to = append(to, clean(r.Name))
	}
	if len(to) > screenMost {
		to = append(to[:screenMost-1], plural(len(to)-screenMost+1, "other"))
	}
	whom := " to " + listAnd(to)
	if len(to) == 0 {
		whom = ""
	}
	return []string{"sent" + whom + " (" + clean(sent.State) + "): " + mcp.Beginning(input.Message)}
}

// readByTool lists the messages that a session pulled.
func readByTool(in *hookEvent) (lines []string) {
	type message struct{ From, Mesh, Trust, Text string }
	var got struct {
		Messages  []message
		Questions []struct{ Answers []message }
	}
	if !in.toolResult(&got) {
		return nil
	}
	for _, q := range got.Questions {
		got.Messages = append(got.Messages, q.Answers...)
	}
	for _, m := range got.Messages {
		lines = append(lines, mcp.Line(protocol.InboxMessage{Mesh: m.Mesh, Body: m.Text, From: protocol.From{Name: m.From, Trust: protocol.Trust(m.Trust)}}))
	}
	return lines
}

// toolResult reads what a tool of ours answered: the client hands it on as JSON in a string.
func (in *hookEvent) toolResult(v any) bool {
	var text string
	return json.Unmarshal(in.ToolResponse, &text) == nil && json.Unmarshal([]byte(text), v) == nil
}
