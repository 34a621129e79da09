package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

const (
	sessionQuestion = "has anybody seen the uploader time out?"
	sessionAnswer   = "yes: the retry window was off by one, fixed two weeks ago"
)

// demoSession stands in for one Claude session: it starts `claudemesh mcp` as Claude Code does, and listens on an inbox socket as Claude Code does.
type demoSession struct {
	mcp   *sdk.ClientSession
	inbox net.Listener
	mail  chan string
}

func (s *stage) newSession(ctx context.Context, name, label string) (*demoSession, error) {
	path := filepath.Join(s.dir, name+".s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the inbox of %s's session: %w", name, err)
	}
	d := &demoSession{inbox: ln, mail: make(chan string, 16)}
	go d.listen()
	cmd := exec.CommandContext(ctx, s.exe, "mcp")
	cmd.Env = append(demoEnv(s.home(name)), "CLAUDE_CODE_SESSION_ID=demo-"+label, "CLAUDE_PROJECT_DIR=/src/"+label,
		"CLAUDE_CODE_MESSAGING_SOCKET="+path, "CLAUDE_CODE_MESSAGING_TOKEN=demo")
	d.mcp, err = sdk.NewClient(&sdk.Implementation{Name: "claudemesh demo", Version: s.Version}, nil).Connect(ctx, &sdk.CommandTransport{Command: cmd}, nil)
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("start %s's session: %w", name, err)
	}
	return d, nil
}

func (d *demoSession) close() {
	d.mcp.Close()
	d.inbox.Close()
}

func (d *demoSession) listen() {
	for {
		c, err := d.inbox.Accept()
		if err != nil {
			return
		}
		lines := bufio.NewScanner(c)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var f struct {
				Type    string
				Message struct{ Content string }
			}
			if json.Unmarshal(lines.Bytes(), &f) == nil && f.Type == "user" {
				d.mail <- f.Message.Content
			}
		}
		c.Close()
	}
}

// call calls a tool and decodes its structured result into out.
func (d *demoSession) call(ctx context.Context, tool string, args map[string]any, out any) error {
	res, err := d.mcp.CallTool(ctx, &sdk.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return fmt.Errorf("%s: %w", tool, err)
	}
	b, err := json.Marshal(res.StructuredContent)
	if err != nil || res.IsError {
		return fmt.Errorf("%s: refused: %v", tool, res.Content)
	}
	return json.Unmarshal(b, out)
}

// woken waits for a message with that text and returns the id to answer. What nobody has read yet comes first: it is the session's mail too.
func (d *demoSession) woken(ctx context.Context, text string) (string, error) {
	for {
		select {
		case got := <-d.mail:
			if !strings.Contains(got, text) {
				continue
			}
			_, rest, _ := strings.Cut(got, `reply_to "`)
			id, _, _ := strings.Cut(rest, `"`)
			return id, nil
		case <-ctx.Done():
			return "", errors.Join(protocol.Refuse(protocol.CodeTimeout, "no session was woken with %q", text), ctx.Err())
		}
	}
}

func playSessions(ctx context.Context, s *stage) error {
	bob, err := s.newSession(ctx, "bob", "web")
	if err != nil {
		return err
	}
	defer bob.close()
	alice, err := s.newSession(ctx, "alice", "uploader")
	if err != nil {
		return err
	}
	defer alice.close()
	s.tell("each starts `claudemesh mcp`, as Claude Code would: they are on the mesh as bob/web and alice/uploader")
	err = s.until(ctx, "bob's session sees alice's", func() (bool, error) {
		var seen struct {
			Peers []struct{ Name, Session string }
		}
		if err := bob.call(ctx, "list_peers", map[string]any{}, &seen); err != nil {
			return false, err
		}
		for _, p := range seen.Peers {
			if p.Name == "alice" && p.Session == "uploader" {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	var sent struct{ ID, State string }
	if err := bob.call(ctx, "send_message", map[string]any{"to": "*", "message": sessionQuestion, "kind": "question"}, &sent); err != nil {
		return err
	}
	s.tell("bob's session asks everybody: %q", sessionQuestion)
	id, err := alice.woken(ctx, sessionQuestion)
	if err != nil {
		return err
	}
	if id != sent.ID {
		return fmt.Errorf("alice is asked to answer %q, bob asked %q", id, sent.ID)
	}
	if err := alice.call(ctx, "send_message", map[string]any{"reply_to": id, "message": sessionAnswer}, &sent); err != nil {
		return err
	}
	if _, err := bob.woken(ctx, sessionAnswer); err != nil {
		return err
	}
	s.tell("alice's was idle, woke and answered:  %q", sessionAnswer)
	return nil
}
