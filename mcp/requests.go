package mcp

import (
	"context"
	"fmt"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

// What the user types in the dialog about a request for knowledge. Anything else leaves it waiting.
const (
	sendWord   = "send"
	alwaysWord = "always"
	denyWord   = "deny"

	requestsAtOnce = 5   // dialogs of one call
	requestShown   = 900 // bytes of the text that would be sent
	requestAsked   = 300 // bytes of the question
)

type requestsIn struct{}

type requestsOut struct {
	Sent    int    `json:"sent"`
	Denied  int    `json:"denied"`
	Waiting int    `json:"waiting" jsonschema:"requests that still wait for the user"`
	Note    string `json:"note,omitempty"`
}

func (s *server) addRequestsTool(srv *sdk.Server) {
	sdk.AddTool(srv, &sdk.Tool{
		Name: "knowledge_requests", Title: "Let the user decide what peers may see",
		Meta: loaded(),
		Description: "Show the user, in a dialog, the requests of peers for knowledge from this machine. Only when the user asks for it. The user decides; " +
			"you learn how many were sent and denied, and neither who asked nor what.",
		Annotations: &sdk.ToolAnnotations{DestructiveHint: no(), OpenWorldHint: yes()},
	}, s.knowledgeRequests)
}

// knowledgeRequests opens a dialog for each request that waits. It is the user who starts this: a peer
// opens no dialog in anybody's session.
func (s *server) knowledgeRequests(ctx context.Context, req *sdk.CallToolRequest, _ requestsIn) (*sdk.CallToolResult, requestsOut, error) {
	var out requestsOut
	open, err := s.Mesh.KnowledgeRequests(ctx)
	if err != nil {
		return nil, out, told(err)
	}
	out.Waiting = len(open)
	if !hasDialogs(req.Session) {
		if len(open) > 0 {
			out.Note = "this client has no dialogs; the user decides in a shell: claudemesh knowledge requests"
		}
		return nil, out, nil
	}
	for _, r := range open[:min(len(open), requestsAtOnce)] {
		res, err := req.Session.Elicit(ctx, requestDialog(&r))
		if err != nil || res.Action != "accept" {
			break // he put it away: the others wait as well
		}
		decision, ok := decided(res)
		if !ok {
			continue
		}
		if _, err := s.Mesh.DecideKnowledge(ctx, r.ID, decision); err != nil {
			return nil, out, told(err)
		}
		out.Waiting--
		if decision.Approve {
			out.Sent++
		} else {
			out.Denied++
		}
	}
	return nil, out, nil
}

// hasDialogs reports whether the client can ask its user.
func hasDialogs(client *sdk.ServerSession) bool {
	params := client.InitializeParams()
	if params == nil {
		return false
	}
	caps := params.Capabilities
	return caps != nil && caps.Elicitation != nil && (caps.Elicitation.Form != nil || caps.Elicitation.URL == nil)
}

func decided(res *sdk.ElicitResult) (d protocol.KnowledgeDecision, ok bool) {
	answer, _ := res.Content["answer"].(string)
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case sendWord:
		return protocol.KnowledgeDecision{Approve: true}, true
	case alwaysWord:
		return protocol.KnowledgeDecision{Approve: true, Always: true}, true
	case denyWord:
		return protocol.KnowledgeDecision{}, true
	}
	return d, false
}

// requestDialog shows what would leave. The question is the peer's text, as a terminal may show it.
func requestDialog(r *protocol.KnowledgeAsk) *sdk.ElicitParams {
	who, mesh, question := name(r.Name), name(r.Mesh), text(r.Question)
	if len(question) > requestAsked {
		question = cutAt(question, requestAsked) + "…"
	}
	would := text(r.Would)
	if len(would) > requestShown {
		would = cutAt(would, requestShown) + fmt.Sprintf("… (%d bytes in all: claudemesh knowledge requests)", len(r.Would))
	}
	return &sdk.ElicitParams{
		Mode:    "form",
		Message: fmt.Sprintf("%s on %s asks: %q\nThis would be sent:\n%s", who, mesh, question, would),
		RequestedSchema: map[string]any{
			"type": "object", "required": []string{"answer"},
			"properties": map[string]any{"answer": map[string]any{
				"type": "string", "title": fmt.Sprintf("Type %s, %s or %s", sendWord, alwaysWord, denyWord),
				"description": fmt.Sprintf("%s: this once. %s: and from now on to %s, for excerpts of this project. %s: nothing, and %s is told so. Anything else leaves it waiting.",
					sendWord, alwaysWord, who, denyWord, who),
			}},
		},
	}
}
