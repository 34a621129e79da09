package broker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/localsocket"
	"github.com/claudemesh/claudemesh/protocol"
)

// AdminSocket is the name of the socket in the data directory on which the operator talks to a live broker. Only the user
// who runs the broker can open it.
const AdminSocket = "admin.sock"

// Status is what an operator sees of a live broker.
type Status struct {
	Version    string            `json:"version"`
	PID        int               `json:"pid"`
	Uptime     float64           `json:"uptime_s"`
	Draining   bool              `json:"draining"`
	Meshes     []MeshStatus      `json:"meshes"`
	Hellos     int               `json:"connections_before_hello"`
	Queue      QueueStatus       `json:"queue"`
	LastClosed []ClosedStatus    `json:"last_closed"`
	Refusals   map[string]uint64 `json:"refusals"`
}

// MeshStatus is one mesh in numbers.
type MeshStatus struct {
	ID         string `json:"id"`
	Slug       string `json:"slug"`
	Members    int    `json:"members"`
	Statements int    `json:"statements"`
	Controls   int    `json:"control_connections"`
	Sessions   int    `json:"session_connections"`
	Queued     int    `json:"queued_messages"`
	QueuedSize int64  `json:"queued_bytes"`
}

// QueueStatus is the state of the queue's files.
type QueueStatus struct {
	Messages     int64   `json:"messages"`
	Bytes        int64   `json:"bytes"`
	JournalBytes int64   `json:"journal_bytes"`
	FlushLag     float64 `json:"flush_lag_s"`
	DataBytes    int64   `json:"data_base_bytes"`
}

// ClosedStatus is how a connection ended.
type ClosedStatus struct {
	At      time.Time `json:"at"`
	Addr    string    `json:"addr"`
	Mesh    string    `json:"mesh,omitempty"`
	Member  string    `json:"member,omitempty"`
	Kind    string    `json:"kind"`
	Reason  string    `json:"reason"`
	Lasted  float64   `json:"lasted_s"`
	Pending int       `json:"unacknowledged"`
}

// keepClosed is how many ended connections a status names.
const keepClosed = 64

// closedLog remembers the last connections that ended.
type closedLog struct {
	mu   sync.Mutex
	last []ClosedStatus // oldest first
}

func (l *closedLog) add(c ClosedStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.last) == keepClosed {
		l.last = slices.Delete(l.last, 0, 1)
	}
	l.last = append(l.last, c)
}

func (l *closedLog) list() []ClosedStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.last)
	slices.Reverse(out)
	return out
}

// ListenAdmin listens on the socket of a data directory, for the user who runs the broker and for root. One that a crash left
// is replaced: the caller holds the directory. DialAdmin finds it.
func ListenAdmin(dir string, log *slog.Logger) (*localsocket.Listener, error) {
	l, err := localsocket.Listen(filepath.Join(dir, AdminSocket), func(uid uint32, err error) {
		log.Warn("operator's socket: refused", "uid", uid, "err", err)
	})
	if err != nil {
		return nil, fmt.Errorf("listen for the operator: %w", err)
	}
	return l, nil
}

// DialAdmin connects to the broker of a data directory.
func DialAdmin(ctx context.Context, dir string) (net.Conn, error) {
	return localsocket.Dial(ctx, filepath.Join(dir, AdminSocket))
}

// AdminHandler serves the operator: status, limits, backup, compact, and Go's profiles. Who may reach it, may all.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { s.writeJSON(w, http.StatusOK, s.Status()) })
	mux.HandleFunc("GET /v1/limits", func(w http.ResponseWriter, _ *http.Request) { s.writeJSON(w, http.StatusOK, s.limits.List()) })
	mux.HandleFunc("POST /v1/backup", s.handleBackup)
	mux.HandleFunc("POST /v1/compact", s.handleCompact)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	return mux
}

// Status reads each figure by itself; together they are no snapshot.
func (s *Server) Status() Status {
	q := s.queue.Stats()
	st := Status{
		Version: s.cfg.Version, PID: os.Getpid(), Uptime: time.Since(s.started).Seconds(), Draining: s.draining.Load(),
		Meshes: []MeshStatus{}, LastClosed: s.closed.list(), Refusals: s.metrics.refused(),
		Queue: QueueStatus{
			Messages: q.Messages, Bytes: q.Bytes, JournalBytes: q.JournalBytes, FlushLag: q.FlushLag.Seconds(), DataBytes: s.dataSize(),
		},
	}
	s.mu.Lock()
	st.Hellos = len(s.conns)
	s.mu.Unlock()
	for _, m := range s.allMeshes() {
		ms := m.status()
		st.Hellos -= ms.Controls + ms.Sessions
		st.Meshes = append(st.Meshes, ms)
	}
	st.Hellos = max(st.Hellos, 0)
	slices.SortFunc(st.Meshes, func(a, b MeshStatus) int { return b.Queued - a.Queued })
	return st
}

// dataSize is the size of the data base, or 0 when that cannot be told.
func (s *Server) dataSize() int64 {
	n, err := s.db.Size()
	if err != nil {
		s.log.Warn("database size unknown", "err", err)
	}
	return n
}

func (m *mesh) status() MeshStatus {
	m.mu.Lock()
	st := MeshStatus{ID: string(m.id), Members: len(m.members)}
	for _, s := range m.log {
		if s != nil {
			st.Statements++
		}
	}
	if c, ok := m.log[0].Body.(*protocol.Charter); ok {
		st.Slug = c.Slug
	}
	for c := range m.conns {
		if c.control {
			st.Controls++
		} else {
			st.Sessions++
		}
	}
	addresses := make([]*address, 0, len(m.addresses))
	for _, a := range m.addresses {
		addresses = append(addresses, a)
	}
	m.mu.Unlock()
	for _, a := range addresses {
		n, size := m.srv.queue.Depth(a.mail)
		st.Queued += n
		st.QueuedSize += size
	}
	return st
}

// handleBackup streams a copy of the data base that has every message committed before the call. To restore it, put it in
// place as broker.db beside the admin token, without the journal.
func (s *Server) handleBackup(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &counter{w: w}
	n, err := s.queue.Backup(out)
	switch {
	case err == nil:
		s.log.Info("backup written", "bytes", n)
	case out.n == 0:
		s.writeError(w, s.refusal(s.storeError("backup", err)))
	default:
		s.log.Error("backup failed", "err", err)
		panic(http.ErrAbortHandler) // half a backup must not look like a whole one
	}
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Compacted is what a compaction has gained.
type Compacted struct {
	Before int64 `json:"before_bytes"`
	After  int64 `json:"after_bytes"`
}

func (s *Server) handleCompact(w http.ResponseWriter, _ *http.Request) {
	before := s.dataSize()
	if err := s.compact(); err != nil {
		s.writeError(w, s.refusal(s.storeError("compact", err)))
		return
	}
	c := Compacted{Before: before, After: s.dataSize()}
	s.log.Info("compacted", "before", c.Before, "after", c.After)
	s.writeJSON(w, http.StatusOK, c)
}

// compact moves what waits from the journal, then copies the data base without its free pages.
func (s *Server) compact() error {
	if err := s.queue.Flush(); err != nil {
		return err
	}
	return s.db.Shrink()
}
