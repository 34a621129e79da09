package broker

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/broker/blobs"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// blobTransfers is how many parts and ranges one member moves at once. A daemon takes two.
const blobTransfers = 4

// openBlobs opens the store of files. Its limits are those of the broker.
func (s *Server) openBlobs() (err error) {
	l := s.limits
	s.blobs, err = blobs.Open(s.db, filepath.Join(s.cfg.Dir, "blobs"), blobs.Options{
		Now: s.now, Log: s.log,
		Limits: blobs.Limits{
			File: l.FileBytes, Member: l.MemberFileBytes, Count: l.MemberFiles, Mesh: l.MeshFileBytes, Life: l.FileLife, Unfinished: l.UploadLife,
		},
	})
	return err
}

// blobRoutes serve files. What they do is decided by the pass in the request.
func (s *Server) blobRoutes(mux *http.ServeMux) {
	api := &blobs.API{
		Store: s.blobs, Enter: s.enterBlob,
		Enough: func(pass *protocol.BlobPass) (func(), error) { return s.transfers.enter(pass.Member) },
		Reply:  func(w http.ResponseWriter, v any) { s.writeJSON(w, http.StatusOK, v) },
		Refuse: func(w http.ResponseWriter, err error) {
			if _, ok := err.(*protocol.Error); !ok {
				err = s.storeError("file", err)
			}
			s.writeError(w, s.refusal(err))
		},
	}
	for pattern, handle := range api.Routes() {
		mux.HandleFunc(pattern, handle)
	}
}

// enterBlob checks a pass: that the member signed it, now and for this broker, and that he may still do what it says. Of a strange
// request only so many are answered with a reason.
func (s *Server) enterBlob(r *http.Request, text string) (*protocol.BlobPass, error) {
	if s.draining.Load() {
		return nil, errDraining()
	}
	st, err := protocol.ParseText(text)
	var pass *protocol.BlobPass
	if err == nil {
		var ok bool
		if pass, ok = st.Body.(*protocol.BlobPass); !ok {
			err = protocol.Refuse(protocol.CodeUnauthorized, "no pass for a file")
		}
	}
	if err != nil {
		if !s.refusedKeys.allow(s.clientAddr(r)) {
			return nil, protocol.Refuse(protocol.CodeRateLimit, "too many requests without a good pass").RetryAfter(drainRetry)
		}
		return nil, protocol.Refuse(protocol.CodeUnauthorized, "no pass for a file: %v", err)
	}
	if host := strings.ToLower(r.Host); host != pass.Host && (s.cfg.publicHost() == "" || s.cfg.publicHost() != pass.Host) {
		return nil, protocol.Refuse(protocol.CodeUnauthorized, "the pass is for another broker, %s", pass.Host)
	}
	if d := s.now().Sub(protocol.TimeOf(pass.At)); d.Abs() > protocol.ClockSkew {
		return nil, protocol.Refuse(protocol.CodeTimestamp, "your clock is off by %s", d.Abs().Round(time.Second))
	}
	m := s.mesh(pass.Mesh)
	if m == nil {
		return nil, protocol.Refuse(protocol.CodeNotMember, "this key is no member of that mesh")
	}
	return pass, m.mayUseBlob(pass)
}

// mayUseBlob refuses who is no member, who may not do it, and files of somebody who is no member any more.
func (m *mesh) mayUseBlob(pass *protocol.BlobPass) error {
	now := m.srv.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.members[pass.Member]
	if p == nil {
		return protocol.Refuse(protocol.CodeNotMember, "this key is no member of that mesh")
	}
	switch m.standingLocked(p, now) {
	case verified:
	case revoked:
		return protocol.Refuse(protocol.CodeRevoked, "the key was revoked")
	case invited:
		if pass.Verb != protocol.BlobGet {
			return protocol.Refuse(protocol.CodeForbidden, "who was only invited may not send files")
		}
	default:
		return protocol.Refuse(protocol.CodeNotMember, "this key is no member any more")
	}
	if u := m.members[pass.Uploader]; u == nil || m.standingLocked(u, now) != verified {
		return protocol.Refuse(protocol.CodeNotFound, "there is no such file for you at the broker: its sender is no member any more")
	}
	return p.takeToken()
}

// sweepBlobs removes files of members who were removed. By a clock that is settled it also removes those that are over, and those
// of people whose link is.
func (s *Server) sweepBlobs(settled bool) {
	old := time.Time{} // by which nothing is
	if settled {
		old = s.now()
	}
	n, err := s.blobs.Sweep(old, func(id protocol.MeshID, key crypto.PublicKey) bool {
		m := s.mesh(id)
		if m == nil {
			return false
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		p := m.members[key]
		if p == nil {
			return false
		}
		switch m.standingLocked(p, s.now()) {
		case verified, invited:
			return true
		case stranger:
			return !settled
		}
		return false
	})
	if err != nil {
		s.log.Warn("remove files", "err", err)
	}
	if n > 0 {
		s.log.Info("files removed", "count", n)
	}
}

// transfers counts what members move at once. The mutex is a leaf.
type transfers struct {
	mu sync.Mutex
	of map[crypto.PublicKey]int
}

func (t *transfers) enter(key crypto.PublicKey) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[key] >= blobTransfers {
		return nil, protocol.Refuse(protocol.CodeRateLimit, "more than %d transfers at once", blobTransfers).RetryAfter(time.Second)
	}
	if t.of == nil {
		t.of = make(map[crypto.PublicKey]int)
	}
	t.of[key]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.of[key]--; t.of[key] == 0 {
			delete(t.of, key)
		}
	}, nil
}
