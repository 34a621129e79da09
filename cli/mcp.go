package cli

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/mcp"
	"github.com/claudemesh/claudemesh/protocol"
)

func mcpVerb() *verb {
	return &verb{
		name: "mcp", heading: headClaude, usage: "the MCP server on stdin and stdout: what Claude Code starts",
		about: "It belongs to the Claude session that started it and brings that session's mail in front of the model. It answers at once, whether the daemon\n" +
			"runs or not, starts the daemon when it is needed, and survives its restarts.",
		examples: []string{"claude mcp add claudemesh --scope user -- claudemesh mcp"},
		run:      runMCP,
	}
}

func runMCP(ctx context.Context, c *call) error {
	if composing() {
		return protocol.Refuse(protocol.CodeForbidden, "an answer that is being composed does not use the mesh")
	}
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	level := slog.LevelWarn
	if os.Getenv("CLAUDEMESH_DEBUG") != "" {
		level = slog.LevelDebug
	}
	in, ok := c.stdin.(io.ReadCloser)
	if !ok {
		in = io.NopCloser(c.stdin)
	}
	return mcp.Serve(ctx, mcp.Config{
		Mesh: meshOfMCP{client.Dial(home), home}, Version: thisBuild().Version, Session: ownSession(), Channel: os.Getenv(envChannel) != "",
		Inbox:  mcp.Inbox{Path: os.Getenv("CLAUDE_CODE_MESSAGING_SOCKET"), Token: os.Getenv("CLAUDE_CODE_MESSAGING_TOKEN")},
		Logger: slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: level})),
	}, in, nopWriteCloser{c.stdout})
}

type nopWriteCloser struct{ *stream }

func (nopWriteCloser) Close() error { return nil }

// meshOfMCP is the daemon as the MCP server sees it. Registering, which comes before everything else, starts it when nobody answers.
type meshOfMCP struct {
	*client.Client
	home config.Home
}

func (m meshOfMCP) Register(ctx context.Context, r protocol.SessionRequest) (info protocol.SessionInfo, err error) {
	info, err = m.Client.Register(ctx, r)
	if protocol.CodeOf(err) != protocol.CodeUnavailable {
		return info, err
	}
	if _, err := ensure(ctx, m.home, client.EnsureOptions{}); err != nil {
		return info, err
	}
	return m.Client.Register(ctx, r)
}
