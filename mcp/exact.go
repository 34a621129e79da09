package mcp

import (
	"encoding/json"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

// checkMessage refuses a text that would not arrive as the model wrote it.
func checkMessage(req *sdk.CallToolRequest, text string) error {
	if err := protocol.CheckText(text); err != nil {
		return err
	}
	if strings.TrimSpace(text) == "" {
		return protocol.Refuse(protocol.CodeInvalid, "the message is empty")
	}
	if err := protocol.CheckJSON(req.Params.Arguments); err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "the message is not text: %v", err)
	}
	return nil
}

// exact is a result whose text holds what peers wrote as they wrote it. The library's own would spell angle brackets as \u003c, which is
// the same JSON and not what a model should have to read.
func exact[T any](out T) (*sdk.CallToolResult, T, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, out, err
	}
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: strings.TrimSpace(b.String())}}}, out, nil
}
