package cli

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/client"
	way "github.com/claudemesh/claudemesh/daemon/probe"
	"github.com/claudemesh/claudemesh/protocol"
)

// reachTimeout is how long an installation waits for the brokers; reachEvery how often it looks.
const (
	reachTimeout = 15 * time.Second
	reachEvery   = 100 * time.Millisecond
)

// meshReach is whether a mesh's broker is reached, and what is in the way if not.
type meshReach struct {
	Mesh      string `json:"mesh"`
	Broker    string `json:"broker"`
	State     string `json:"state"`
	LastError string `json:"last_error,omitempty"`
	Cause     string `json:"cause,omitempty"`
	Sentence  string `json:"sentence,omitempty"`
	Next      string `json:"next,omitempty"`
}

// reachBrokers waits for every mesh's connection, up to reachTimeout, and prints what became of each unless under --json.
func (c *call) reachBrokers(ctx context.Context, cl *client.Client) ([]meshReach, error) {
	wait, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	tick := time.NewTicker(reachEvery)
	defer tick.Stop()
	for {
		h, err := cl.Health(ctx)
		if err != nil {
			return nil, err
		}
		if undecided(h) {
			select {
			case <-tick.C:
				continue
			case <-wait.Done():
			}
		}
		all, err := reaches(ctx, cl, h)
		if err == nil && !c.json {
			c.printReaches(all)
		}
		return all, err
	}
}

// undecided tells whether a mesh may still connect; one that was refused will not by waiting.
func undecided(h protocol.Health) bool {
	for _, m := range h.Meshes {
		if m.State != protocol.ConnOpen && m.State != protocol.ConnRefused {
			return true
		}
	}
	return false
}

// reaches looks for the cause of every connection that is not open. The daemon walks to the brokers itself: another
// process may have another proxy.
func reaches(ctx context.Context, cl *client.Client, h protocol.Health) ([]meshReach, error) {
	infos, err := cl.Meshes(ctx)
	if err != nil {
		return nil, err
	}
	urls := make(map[string]string)
	for _, m := range infos {
		urls[m.Mesh] = m.Broker
	}
	var n way.Network
	if !allOpen(h) {
		if n, err = cl.Network(ctx, ""); err != nil {
			return nil, err
		}
	}
	all := []meshReach{}
	for _, slug := range sortedKeys(h.Meshes) {
		all = append(all, reachOf(slug, urls[slug], h.Meshes[slug], n.Ways[slug]))
	}
	return all, nil
}

func allOpen(h protocol.Health) bool {
	for _, m := range h.Meshes {
		if m.State != protocol.ConnOpen {
			return false
		}
	}
	return true
}

// reachOf explains one mesh. What the broker said counts for more than what a walk sees of the way to it.
func reachOf(slug, url string, h protocol.MeshHealth, walk way.Report) meshReach {
	m := meshReach{Mesh: slug, Broker: url, State: h.State, LastError: h.LastError}
	if h.State == protocol.ConnOpen {
		return m
	}
	if sentence, next, ok := refusedNow(h, walk); ok {
		m.Cause, m.Sentence, m.Next = string(h.ErrorCode), sentence, next
		return m
	}
	m.Cause, m.Sentence, m.Next = string(walk.Cause), walk.Sentence, walk.Next
	if walk.OK {
		m.Sentence, m.Next = "the broker is reachable now", "wait for the next try, or: claudemesh daemon logs"
	}
	return m
}

// refusedNow explains a broker's refusal that no change of the network mends. Of a refusal for the clock the walk knows what
// is true now: the clock may have been set since.
func refusedNow(h protocol.MeshHealth, walk way.Report) (sentence, next string, ok bool) {
	r, ok := refusals[h.ErrorCode]
	if h.ErrorCode == protocol.CodeTimestamp {
		switch {
		case walk.Cause == brokerhttp.CauseClock:
			return walk.Sentence, walk.Next, true
		case walk.OK:
			return "the clocks were apart a moment ago, and agree now", "wait for the next try, at most 20 s", true
		}
	}
	return r.sentence, r.next, ok
}

// refusals are a broker's reasons that no change of the network mends.
var refusals = map[protocol.Code]struct{ sentence, next string }{
	protocol.CodeRevoked:   {"your key was revoked in this mesh, for ever", "ask an admin for a new link; claudemesh leave, then join with it"},
	protocol.CodeNotMember: {"the broker does not know this mesh, or not your key in it", "ask an admin for a new link; a broker that was set up anew needs its old data"},
	protocol.CodeNotFound:  {"the mesh is not on this broker any more: its owner deleted it", "claudemesh leave, with --force, forgets it here"},
	protocol.CodeDowngrade: {"the broker lacks what this mesh needs", "its operator must upgrade it"},
	protocol.CodeTimestamp: {"this machine's clock and the broker's are more than a minute apart", "set this machine's clock; if it is right, the broker's is wrong"},
	protocol.CodeCloned:    {"the same keys are connected from another machine or home", "claudemesh daemon accept-host, if the other copy is gone for good"},
	protocol.CodeKicked:    {"an admin ended the connection", "ask the admins of the mesh"},
}

func (c *call) printReaches(all []meshReach) {
	for _, m := range all {
		if m.State == protocol.ConnOpen {
			c.say("%s (mesh=%s)", c.paint(green, "broker connected"), m.Mesh)
			continue
		}
		c.note("warning: %s is still %s: %s", m.Mesh, m.State, clean(cmp.Or(m.LastError, "no answer yet")))
		c.note("    why   %s", clean(m.Sentence))
		c.note("    next  %s", clean(m.Next))
	}
}

// requireBrokers fails under --require-broker when a mesh is not connected.
func (c *call) requireBrokers(all []meshReach) error {
	var off []string
	for _, m := range all {
		if m.State != protocol.ConnOpen {
			off = append(off, m.Mesh)
		}
	}
	if len(off) == 0 || !c.yes("require-broker") {
		return nil
	}
	e := protocol.Refuse(protocol.CodeUnavailable, "not connected within %s: %s", span(reachTimeout), strings.Join(off, ", "))
	if c.json {
		return saidError{e}
	}
	return e
}
