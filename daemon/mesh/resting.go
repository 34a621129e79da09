package mesh

import (
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// LastLive returns when the session of own, a key of this machine, was live last; zero for the keys of others.
func (m *Mesh) LastLive(own crypto.PublicKey) time.Time { return m.ring.LastLive(own) }
