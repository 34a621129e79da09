package broker

import (
	"slices"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// givesWay reports whether the connection makes room for one of the same member from another machine or home: that one's
// user said that the keys are at home there, and this one's did not.
func (c *conn) givesWay(auth *protocol.HelloAuth) bool { return !c.atHome && atHome(auth) }

func atHome(auth *protocol.HelloAuth) bool {
	return slices.Contains(auth.Features, protocol.FeatureHost)
}

// displaceLocked ends the connections of p that are of another instance. They leave the tables when they have ended.
func (m *mesh) displaceLocked(p *member, auth *protocol.HelloAuth) {
	for _, other := range p.conns.all() {
		if other.instance == auth.Instance {
			continue
		}
		other.expel(protocol.CodeCloned, "another machine is the place of these keys now",
			ending{code: websocket.ClosePolicyViolation, text: string(protocol.CodeCloned), reason: endReplaced})
	}
}
