package roster

import (
	"context"

	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
)

// PutSession makes a session of this machine known to every mesh, or tells them what changed about it.
func (r *Roster) PutSession(s *keyring.Session) {
	r.mu.Lock()
	r.sessions[s.ID] = s
	r.mu.Unlock()
	for _, m := range r.Meshes() {
		r.addTo(m, s)
	}
}

// endSession takes a session off every mesh.
func (r *Roster) endSession(id string) {
	r.mu.Lock()
	delete(r.sessions, id)
	r.mu.Unlock()
	for _, m := range r.Meshes() {
		if err := m.RemoveSession(id); err != nil {
			r.Log.Error("session not removed", "mesh", m.Slug(), "session", id, "err", err)
		}
	}
}

// addTo makes a session known to one mesh. The session lives on where that does not work: other meshes have it.
func (r *Roster) addTo(m *mesh.Mesh, s *keyring.Session) {
	if err := m.AddSession(m.Carried(s)); err != nil {
		r.Log.Error("session not added", "mesh", m.Slug(), "session", s.ID, "err", err)
	}
}

// KeepPresence remembers what a session said of itself: for the meshes that are joined later, for the next daemon, and for the mail that a change
// of status releases.
func (r *Roster) KeepPresence(id string, req protocol.PresenceRequest) {
	if req.Status != "" {
		r.Live.Update(id, func(s *registry.Session) { s.Status, s.Active = req.Status, r.Now().UTC() })
		r.Hub.Wake()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[id]
	if s == nil {
		return // it ended meanwhile
	}
	changed := *s
	changed.Groups = mesh.MergeGroups(s.Groups, req.Join, req.Leave)
	if req.Status != "" {
		changed.Status = req.Status
	}
	if req.Summary != nil {
		changed.Summary = *req.Summary
	}
	r.sessions[id] = &changed
}

// WaitingBeside lists the sessions that wait for their human, but for one.
func (r *Roster) WaitingBeside(session string) (labels []string) {
	for _, s := range r.Live.Live() {
		if s.Status == protocol.StatusWaiting && s.ID != session {
			labels = append(labels, s.Label)
		}
	}
	return labels
}

// SetStatus tells all meshes what a session does now.
func (r *Roster) SetStatus(ctx context.Context, s registry.Session, local *keyring.Session, status string) {
	change := protocol.PresenceRequest{Session: s.ID, Status: status}
	for _, m := range r.Meshes() {
		if err := m.SetPresence(ctx, change, local); err != nil {
			r.Log.Warn("status not sent", "mesh", m.Slug(), "session", s.Label, "err", err)
		}
	}
	r.KeepPresence(s.ID, change)
}

// TurnEnded makes a session idle whose hook was to keep the turn going and could not.
func (r *Roster) TurnEnded(session string) {
	if s, local, err := r.LiveSession(session); err == nil && s.Status == protocol.StatusWorking {
		r.SetStatus(r.Life, s, local, protocol.StatusIdle)
	}
}
