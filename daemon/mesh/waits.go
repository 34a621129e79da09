package mesh

import (
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// waits is why a message is still on this machine: what the broker said to it, or why there is no connection that it could go
// out on. Nil: nothing keeps it, it is on its way.
func (m *Mesh) waits(row *outRow) *protocol.ErrorBody {
	if row.Stage != stagePending {
		return nil
	}
	if e := m.uplinkFor(row.From).why(); e != nil {
		return bodyOf(e)
	}
	if e := m.out.refused(row.ID); e != nil {
		return bodyOf(e)
	}
	return nil
}

func bodyOf(e *protocol.Error) *protocol.ErrorBody {
	return &protocol.ErrorBody{Code: e.Code, Message: e.Message, Hint: e.Hint, Retryable: e.Retryable, RetryAfter: e.After.Milliseconds()}
}

// uplinkFor is the connection that sends for a key: its own, or the member's.
func (m *Mesh) uplinkFor(from crypto.PublicKey) *uplink {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.uplinks[from]; u != nil {
		return u
	}
	return m.control
}

// why is why this connection takes nothing now, nil where it does.
func (u *uplink) why() *protocol.Error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.conn != nil:
		return nil
	case u.lastError != nil:
		return u.lastError
	}
	return protocol.Refuse(protocol.CodeUnavailable, "no connection to the broker yet").RetryAfter(0)
}

// removed reports that this member is out of the mesh: our own view says so, or the broker does and lets us in no more. The
// broker's word ends nothing; it is told for what it is.
func (m *Mesh) removed() (reason string, removed bool) {
	if _, gone := m.trust.View().Revoked(m.self); gone {
		return "this machine's key was removed from " + m.Slug(), true
	}
	m.control.mu.Lock()
	defer m.control.mu.Unlock()
	if e := m.control.lastError; m.control.conn == nil && e != nil && e.Code == protocol.CodeRevoked {
		return "the broker of " + m.Slug() + " says that this machine's key was removed", true
	}
	return "", false
}
