package cli

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/bench"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// completionTimeout is how long the daemon is waited for while somebody types.
var completionTimeout = 50 * time.Millisecond // a variable for tests, in which the machine may be busy

// candidates finds the words for a place in a line. What the daemon knows is asked for at most once a kind.
type candidates struct {
	ctx    context.Context
	cancel context.CancelFunc
	line   *line
	client *client.Client // nil: there is no home
}

func newCandidates(ctx context.Context, l *line) *candidates {
	c := &candidates{line: l}
	c.ctx, c.cancel = context.WithTimeout(ctx, completionTimeout)
	if home, err := config.FindHome(); err == nil {
		c.client = client.Dial(home)
	}
	return c
}

func (c *candidates) close() {
	if c.client != nil {
		c.client.Close()
	}
	c.cancel()
}

// mesh is the mesh that the line names, or "".
func (c *candidates) mesh() string {
	for _, g := range c.line.flags {
		if g.name == "mesh" {
			return g.value
		}
	}
	return ""
}

// choices are the words that a flag takes, where it takes one of a few; nil for others.
func choices(flag string) []string {
	switch flag {
	case "priority":
		return []string{protocol.PriorityNow, protocol.PriorityNext, protocol.PriorityLow}
	case "require":
		return []string{string(protocol.StateAccepted), string(protocol.StateQueued), string(protocol.StateDelivered), string(protocol.StateShown), string(protocol.StateRead)}
	case "role":
		return []string{protocol.RoleMember, protocol.RoleAdmin}
	case "cap":
		return protocol.KeyCaps()
	case "pattern":
		return bench.Patterns()
	case "limits":
		return []string{"off"}
	}
	return nil
}

// ofFlag returns the values of a flag.
func (c *candidates) ofFlag(flag string) []string {
	switch flag {
	case "mesh":
		return c.meshes()
	case "session":
		return c.sessions()
	case "groups":
		return c.groups()
	case "data", "dir", "config", "tls-cert", "tls-key", "acme-ca", "token-file", "passphrase-file":
		return []string{filesWanted}
	}
	return choices(flag)
}

var placeholder = regexp.MustCompile(`[<\[]([^>\]]*)[>\]]`)

// ofArgument returns what may stand at the place behind the arguments that are there: what help calls it says which.
func (c *candidates) ofArgument() []string {
	places := placeholder.FindAllStringSubmatch(c.line.verb.args, -1)
	if len(places) == 0 || c.line.verb.max == 0 {
		return nil
	}
	i := len(c.line.args)
	if last := len(places) - 1; i > last {
		if !strings.Contains(places[last][1], "…") {
			return nil
		}
		i = last
	}
	var found []string
	for _, kind := range strings.Split(places[i][1], "|") {
		found = append(found, c.ofKind(strings.TrimSuffix(kind, "…"))...)
	}
	return slices.DeleteFunc(found, func(s string) bool { return slices.Contains(c.line.args, s) })
}

// ofKind returns the words for a placeholder of help. One that is none stands for itself: <on|off>.
func (c *candidates) ofKind(kind string) []string {
	switch kind {
	case "to":
		return slices.Concat(c.names(), c.peers(), atGroups(c.groups()), []string{"*"})
	case "peer", "member", "admin", "name":
		return c.names()
	case "group":
		return c.groups()
	case "slug":
		return c.meshes()
	case "session":
		return c.sessions()
	case "grant":
		return protocol.Grants()
	case "event":
		return []string{protocol.HookSessionStart, protocol.HookPrompt, protocol.HookToolUse, protocol.HookStop, protocol.HookSessionEnd, protocol.HookPreCompact, "wait"}
	case "id":
		return c.ids(strings.Join(c.line.path, " "))
	case "file", "dir":
		return []string{filesWanted}
	case "message", "text", "link", "label", "new", "key", "word", "question", "offer", "n", "-":
		return nil
	}
	return []string{kind}
}
