package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/claude"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/mcp"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/recall/redact"
	"github.com/claudemesh/claudemesh/recall/source"
)

const (
	hookTimeout = time.Second // a daemon that is slower is not waited for: hooks must not be noticed
	hookInput   = 32 << 20    // bytes of an event: it quotes what a tool answered
	hookText    = 9_500       // characters that the agent takes from a hook: 10,000, with room for the frame
	hookWoken   = 2           // exit code that wakes a session, or keeps its turn going, with what stands on stderr
)

func hookVerb() *verb {
	return &verb{
		name: "hook", usage: "what Claude Code's hooks call: tells the daemon, brings mail", args: "<event>", min: 1, max: 1,
		about: "It reads the event as JSON on stdin, never starts a daemon nor waits for one, and exits with 0 whatever goes wrong on our side; with 2 only\n" +
			"to deliver. CLAUDEMESH_DEBUG=1 makes it say on stderr what it keeps to itself. Events: session-start, user-prompt-submit, post-tool-use,\n" +
			"stop, session-end, pre-compact, permission-request, notification, and wait, the background hook that wakes an idle session.",
		examples: []string{"claudemesh hook stop"},
		run:      runHook, silent: true,
	}
}

// hookEvent is what Claude Code tells its hooks, as far as we look at it.
type hookEvent struct {
	SessionID      string `json:"session_id"`
	Cwd            string `json:"cwd"`
	PermissionMode string `json:"permission_mode"`
	Name           string `json:"hook_event_name"`
	Source         string `json:"source"` // of SessionStart: startup, resume, clear, compact, fork
	Reason         string `json:"reason"` // of SessionEnd
	Model          string `json:"model"`
	Prompt         string `json:"prompt"`
	StopHookActive bool   `json:"stop_hook_active"`
	AgentID        string `json:"agent_id"` // of a subagent
	Transcript     string `json:"transcript_path"`

	Notification string `json:"notification_type"`

	ToolName     string          `json:"tool_name"` // of PostToolUse, like the following
	ToolInput    json.RawMessage `json:"tool_input"`
	ToolResponse json.RawMessage `json:"tool_response"`
}

func runHook(ctx context.Context, c *call) error {
	if composing() {
		return nil
	}
	err := c.hook(ctx, c.arg(0))
	if _, delivers := errors.AsType[exitStatus](err); delivers {
		return err
	}
	if err != nil && os.Getenv("CLAUDEMESH_DEBUG") != "" {
		c.note("claudemesh: hook %s: %s", c.arg(0), err)
	}
	return nil
}

func (c *call) hook(ctx context.Context, event string) error {
	b, err := io.ReadAll(io.LimitReader(c.stdin, hookInput))
	if err != nil {
		return err
	}
	in, err := readHookEvent(b)
	if err != nil {
		return err
	}
	if in.SessionID == "" {
		return errors.New("the event names no session")
	}
	home, err := config.FindHome()
	if err != nil {
		return err
	}
	cl := client.Dial(home)
	if event == protocol.HookSessionEnd && (in.Reason == "clear" || in.Reason == "resume") {
		return nil // the process goes on: the session that it starts next takes over the label
	}
	if event == "wait" {
		return c.waitForMail(ctx, cl, &in)
	}
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	req, ok := hookRequest(event, &in)
	if !ok {
		return fmt.Errorf("no event %q", event)
	}
	out, err := cl.Hook(ctx, req)
	if err != nil {
		return err
	}
	return c.answerHook(ctx, cl, &in, &req, &out)
}

// readHookEvent decodes an event. A field of another type than today's counts as absent: what of a later client we can use
// we use.
func readHookEvent(b []byte) (in hookEvent, err error) {
	err = json.Unmarshal(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), &in)
	if _, misfit := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !misfit {
		return in, fmt.Errorf("read the event: %w", err)
	}
	return in, nil
}

// hookRequest says what the daemon is told of an event; false if it is none of ours.
func hookRequest(event string, in *hookEvent) (req protocol.HookRequest, ok bool) {
	req = protocol.HookRequest{Event: event, Transcript: in.Transcript, Active: in.StopHookActive, Quiet: in.AgentID != "", Session: protocol.SessionRequest{
		ID: in.SessionID, PID: claudePID(), Cwd: in.Cwd, Model: in.Model, Channel: "claude-code",
	}}
	if in.PermissionMode != "" {
		bypass := in.PermissionMode == claude.ModeBypass
		req.Session.Bypass = &bypass
	}
	switch event {
	case protocol.HookSessionStart:
		req.Session.Name = os.Getenv(envName)
		req.Session.Bypass = startsInBypass(req.Session.PID, in.Cwd)
		req.Secrets = environmentSecrets()
	case protocol.HookSessionEnd, protocol.HookPreCompact:
	case protocol.HookPrompt:
		req.Private = source.Private(in.Prompt)
		req.Shown, req.Human = mcp.Marked(in.Prompt), typed(in.Prompt)
	case protocol.HookToolUse, protocol.HookStop:
	case protocol.HookPermission:
		req.Waits, req.File = true, clientSessionFile(req.Session.PID)
	case protocol.HookNotification:
		req.Waits, req.Idle = claude.WaitsForHuman(in.Notification), in.Notification == claude.NotifiesIdle
		req.File = clientSessionFile(req.Session.PID)
	default:
		return req, false
	}
	return req, true
}

// environmentSecrets fingerprints what the session's environment holds of secrets, so that the memory
// does not store them. Before there is a memory there is no key to do it with.
func environmentSecrets() (out []protocol.SecretFingerprint) {
	home, err := config.FindHome()
	if err != nil {
		return nil
	}
	key, err := recall.FingerprintKey(home.RecallFile())
	if err != nil {
		return nil
	}
	for _, f := range redact.FromEnvironment(key, os.Environ()) {
		out = append(out, protocol.SecretFingerprint{MAC: hex.EncodeToString(f.MAC[:]), Length: f.Length})
	}
	return out
}

// typed says whether a person wrote the prompt, and not a peer, a channel or a background task. Peers' text holds no angle brackets.
func typed(prompt string) bool {
	prompt = strings.TrimSpace(prompt)
	for _, tag := range []string{"<cross-session-message", "<channel ", "<task-notification"} {
		if strings.HasPrefix(prompt, tag) {
			return false
		}
	}
	return prompt != ""
}

// answerHook brings mail, or at the start of a session tells who it is.
func (c *call) answerHook(ctx context.Context, cl *client.Client, in *hookEvent, req *protocol.HookRequest, out *protocol.HookReply) error {
	switch req.Event {
	case protocol.HookSessionStart:
		return c.answerEvent(in, whoWeAre(out), "")
	case protocol.HookPermission, protocol.HookNotification:
		return nil // a word here could be taken for an answer to the request
	}
	if len(out.Messages) == 0 {
		return c.answerEvent(in, "", onScreen(in, nil))
	}
	text, to := hookMail(out.Messages)+"\n", c.stderr
	if req.Event != protocol.HookStop {
		b, err := hookAnswer(in, hookMail(out.Messages), onScreen(in, out.Messages))
		if err != nil {
			return err // not settled: the daemon gives them again
		}
		text, to = string(b), c.stdout
	}
	state, whole := handOver(ctx, to, text)
	err := settleMail(ctx, cl, out.Session.ID, protocol.RungHook, state, out.Messages)
	if req.Event == protocol.HookStop && whole { // without its text the turn must not go on
		return errors.Join(exitStatus(hookWoken), err)
	}
	return err
}

// answerEvent answers an event with text for the model, and text for the person's screen.
func (c *call) answerEvent(in *hookEvent, text, screen string) error {
	if text == "" && screen == "" {
		return nil
	}
	b, err := hookAnswer(in, text, screen)
	if err == nil {
		_, err = c.stdout.Write(b)
	}
	return err
}

// hookAnswer is the answer to an event: text is added to the model's context, screen is shown to the person.
func hookAnswer(in *hookEvent, text, screen string) ([]byte, error) {
	type output struct {
		Event   string `json:"hookEventName"`
		Context string `json:"additionalContext"`
	}
	answer := struct {
		Output *output `json:"hookSpecificOutput,omitempty"`
		Screen string  `json:"systemMessage,omitempty"`
	}{Screen: screen}
	if text != "" {
		answer.Output = &output{in.Name, text}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(answer)
	return b.Bytes(), err
}

// hookMail writes messages one below the other, each cut to its share of what a hook may say.
func hookMail(messages []protocol.InboxMessage) string {
	var parts []string
	for _, m := range messages {
		const frame = 800 // wrapper, preview, label, end
		parts = append(parts, mcp.WrapCut(m, hookText/len(messages)-frame))
	}
	return strings.Join(parts, "\n\n")
}

// whoWeAre states the facts that a session starts with; nothing where no mesh is joined.
func whoWeAre(out *protocol.HookReply) string {
	var names []string
	for _, w := range out.Meshes {
		names = append(names, fmt.Sprintf("%s on the mesh %s", who(w.Name, cmp.Or(w.Session, out.Session.Label)), w.Mesh))
	}
	if len(names) == 0 {
		return ""
	}
	text := "claudemesh: this session is " + listAnd(names) + ". Its tools are " + toolPrefix() + "*."
	if n := out.Session.Unread; n > 0 {
		text += fmt.Sprintf(" %s wait for it; check_messages reads them.", plural(n, "message"))
	}
	if n := out.Session.Held; n > 0 {
		text += fmt.Sprintf(" %s are held until the user accepts their senders with claudemesh accept.", plural(n, "message"))
	}
	return text
}

// toolPrefix begins the names of our tools in the session that called the hook.
func toolPrefix() string {
	if os.Getenv(claude.EnvPlugin) != "" {
		return claude.PluginToolPrefix
	}
	return claude.ToolPrefix
}
