package cli

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// How long a verb waits for a daemon that has just started to reach its brokers, and how often it looks.
const (
	settleTimeout = 2 * time.Second
	settleEvery   = 20 * time.Millisecond
)

// daemon returns a client of this user's daemon, which it starts when nobody listens.
func (c *call) daemon(ctx context.Context) (*client.Client, error) {
	home, err := config.DefaultHome()
	if err != nil {
		return nil, err
	}
	cl, err := ensure(ctx, home, client.EnsureOptions{})
	if err != nil {
		return nil, err
	}
	c.warnOldDaemon(cl.Found().Build)
	return cl, nil
}

// acting names the session that a verb acts for: --session, else the Claude session that this process runs in if it is on
// the mesh, else none: the member.
func (c *call) acting(ctx context.Context, cl *client.Client) (string, error) {
	if s := c.str("session"); s != "" {
		return s, nil
	}
	id := os.Getenv("CLAUDE_CODE_SESSION_ID")
	if id == "" {
		return "", nil
	}
	switch _, err := cl.WhoAmI(ctx, id); protocol.CodeOf(err) {
	case "":
		return id, nil
	case protocol.CodeNotFound, protocol.CodeUnknownSession:
		return "", nil
	default:
		return "", err
	}
}

// settled returns the daemon's health once no mesh is on its first way to its broker any more, or when patience ends. The
// client is fresh from ensure, whose answer comes first.
func settled(ctx context.Context, cl *client.Client) (protocol.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	h := cl.Found()
	for connecting(h) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return h, nil
		}
		var err error
		if h, err = cl.Health(ctx); err != nil {
			return h, err
		}
	}
	return h, nil
}

// settledDaemon is daemon, once it has settled.
func (c *call) settledDaemon(ctx context.Context) (*client.Client, error) {
	cl, err := c.daemon(ctx)
	if err != nil {
		return nil, err
	}
	_, err = settled(ctx, cl)
	return cl, err
}

// settledMesh is settledDaemon and the mesh of that slug, or the default one.
func (c *call) settledMesh(ctx context.Context, slug string) (*client.Client, protocol.MeshInfo, error) {
	cl, err := c.settledDaemon(ctx)
	if err != nil {
		return nil, protocol.MeshInfo{}, err
	}
	m, err := pickMesh(ctx, cl, slug)
	return cl, m, err
}

// awaitMesh returns when a running daemon has a mesh that is as it is wanted, when none runs, or when patience ends: what comes
// after the verb goes by the change. No daemon is started.
func awaitMesh(ctx context.Context, home config.Home, patience time.Duration, wanted func(protocol.MeshInfo) bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cl := client.Dial(home)
	defer cl.Close()
	for {
		meshes, err := cl.Meshes(ctx)
		if err != nil || slices.ContainsFunc(meshes, wanted) || !pauseFor(ctx, settleEvery) {
			return
		}
	}
}

func connecting(h protocol.Health) bool {
	for _, m := range h.Meshes {
		if m.State == protocol.ConnConnecting && m.LastError == "" {
			return true
		}
	}
	return false
}

// wholeTruth returns nil when the meshes (all, or the one that is named) are connected, so that a list of who is there is the
// truth. Otherwise it tells the user on stderr, and the error ends the verb with code 4: an empty list must not look like
// an empty mesh.
func (c *call) wholeTruth(h protocol.Health, mesh string) error {
	var first *protocol.Error
	for _, slug := range sortedKeys(h.Meshes) {
		m := h.Meshes[slug]
		if m.State == protocol.ConnOpen || mesh != "" && mesh != slug {
			continue
		}
		e := protocol.Refuse(protocol.CodeUnavailable, "%s is not connected to its broker, so what is listed is of before: %s", slug, cmp.Or(m.LastError, m.State))
		c.note("claudemesh: %s", clean(e.Message))
		if first == nil {
			first = e
		}
	}
	if first == nil {
		return nil
	}
	return saidError{first}
}
