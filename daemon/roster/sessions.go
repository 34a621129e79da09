package roster

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
)

const stateSessions = "sessions" // in table.State: the table of live sessions, for the next daemon

// OpenRegistry takes up the sessions that still live from an earlier daemon, and from then on puts each on every mesh.
func (r *Roster) OpenRegistry() error {
	var saved []byte
	err := r.DB.View(func(tx *store.Tx) error {
		saved = tx.Get(table.State, []byte(stateSessions))
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the sessions: %w", err)
	}
	reg, err := registry.Open(saved, registry.Options{
		Now: r.Now, Logger: r.Log,
		OnStart: r.sessionStarted,
		OnEnd: func(s registry.Session, reason string) {
			if reason == registry.ReasonReplaced {
				r.mu.Lock()
				r.replaced[s.ID] = s.Process
				r.mu.Unlock()
			}
			r.Ended(s.ID)
			r.endSession(s.ID)
			r.Hub.Wake() // mail that was offered to it goes to another
			r.wakeHeirs()
		},
		Save: func(b []byte) error {
			return r.DB.Commit(func(tx *store.Tx) error { return tx.Put(table.State, []byte(stateSessions), b) })
		},
	})
	if err != nil {
		return err
	}
	r.Live = reg
	r.wakeHeirs()
	return nil
}

// wakeHeirs offers the mail of sessions that ended and were not resumed to the others, once it is theirs.
func (r *Roster) wakeHeirs() {
	time.AfterFunc(ResumeWithin, r.Hub.Wake)
}

// sessionStarted puts a session on every mesh, with the key that its id has had from the first time.
func (r *Roster) sessionStarted(s registry.Session) {
	key, err := keyring.SessionKey(r.DB, s.ID)
	if err != nil {
		r.Log.Error("session has no key", "session", s.ID, "err", err)
		return
	}
	host, _ := os.Hostname()
	r.PutSession(&keyring.Session{
		ID: s.ID, Label: s.Label, Key: key, PID: s.Process.PID, Cwd: s.Cwd, Host: host, Model: s.Model, Title: s.Title,
		Channel: s.Channel, PeerType: "ai", Status: s.Status,
	})
	r.Hub.Wake()
}

// Register enters a session of this machine. A repetition that changes nothing costs nothing.
func (r *Roster) Register(req protocol.SessionRequest) (registry.Session, error) {
	r.enters.Lock() // a session that another request is entering is not on its meshes yet
	defer r.enters.Unlock()
	if req.ID == "" || len(req.ID) > 128 {
		return registry.Session{}, protocol.Refuse(protocol.CodeInvalid, "a session needs an id of at most 128 characters")
	}
	p, err := registry.Identify(req.PID)
	if err != nil {
		return registry.Session{}, protocol.Refuse(protocol.CodeInvalid, "session %s: %v", req.ID, err)
	}
	if now, ok := r.sessionOf(p); ok && req.Follow {
		req.ID = now.ID
	}
	have, known := r.Live.Get(req.ID)
	if known && have.Process == p && named(have.Label, req.Name) && (req.Model == "" || have.Model == req.Model) && (req.Title == "" || have.Title == req.Title) {
		if req.Bypass != nil && have.Bypass != *req.Bypass {
			have, _ = r.Live.Update(req.ID, func(s *registry.Session) { s.Bypass = *req.Bypass })
		}
		return have, nil
	}
	bypass := known && have.Bypass
	if req.Bypass != nil {
		bypass = *req.Bypass
	}
	s, err := r.Live.Register(registry.Session{
		ID: req.ID, Cwd: req.Cwd, Model: req.Model, Title: req.Title, Channel: req.Channel, Bypass: bypass, Process: p,
	}, req.Name)
	if err != nil {
		return s, protocol.Refuse(protocol.CodeInvalid, "%v", err)
	}
	return s, nil
}

// named says whether a label is what was asked for, with a number if that was taken.
func named(label, wish string) bool {
	want := registry.Label(wish)
	return wish == "" || label == want || strings.HasPrefix(label, want+"-")
}

// successor is the session that the same process continued with after this one, or nil.
func (r *Roster) successor(id string) *keyring.Session {
	r.mu.Lock()
	p, ok := r.replaced[id]
	r.mu.Unlock()
	if !ok {
		return nil
	}
	s, _ := r.sessionOf(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[s.ID]
}

// sessionOf is the live session of a process.
func (r *Roster) sessionOf(p registry.Process) (registry.Session, bool) {
	for _, s := range r.Live.Live() {
		if s.Process == p {
			return s, true
		}
	}
	return registry.Session{}, false
}

// LiveSession is the live session of a Claude id; the refusal tells its program to register again.
func (r *Roster) LiveSession(id string) (registry.Session, *keyring.Session, error) {
	s, ok := r.Live.Get(id)
	if ok {
		if local, err := r.Acting(id); err == nil && local != nil {
			return s, local, nil
		}
	}
	return s, nil, protocol.Refuse(protocol.CodeUnknownSession, "no live session %q on this machine", id)
}

func StatusOr(s string) string {
	if s == "" {
		return protocol.StatusIdle
	}
	return s
}
