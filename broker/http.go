package broker

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// adminTokenFile holds the secret that lets its bearer create meshes, made at the first start.
const adminTokenFile = "admin-token"

// readyTimeout is how long a commit may take before the broker counts as not ready.
const readyTimeout = 5 * time.Second

// routes serves the broker at the root and under the path of its public URL: a proxy in front may take that path off or
// pass it on.
func (s *Server) routes() http.Handler {
	root := s.rootRoutes()
	prefix := protocol.PathPrefix(s.cfg.PublicURL)
	if prefix == "" {
		return root
	}
	below := http.StripPrefix(prefix, root)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prefix+"/") {
			below.ServeHTTP(w, r)
			return
		}
		root.ServeHTTP(w, r)
	})
}

func (s *Server) rootRoutes() http.Handler {
	mux := http.NewServeMux()
	for pattern, handle := range s.openRoutes() {
		mux.HandleFunc(pattern, handle)
	}
	s.keyRoutes(mux)
	s.blobRoutes(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeError(w, s.refusal(protocol.Refuse(protocol.CodeNotFound, "there is no %s", r.URL.Path)))
	})
	return mux
}

// openRoutes are the routes that ask for no API key. What they do is decided by statements in the request, or by the admin token.
func (s *Server) openRoutes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /ws":                 s.handleWebSocket,
		"GET /health":             s.handleHealth,
		"GET /health/ready":       s.handleReady,
		"POST /join":              s.limited(s.handleJoin),
		"POST /api/v1/meshes":     s.limited(s.handleCreate),
		"POST /api/v1/statements": s.limited(s.handleOffer),
	}
}

// loadAdminToken reads the token, or makes it. The file is 0600 from its first byte and complete or not there.
func loadAdminToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		token := strings.TrimSpace(string(b))
		if len(token) < 32 {
			return "", fmt.Errorf("the admin token in %s is too short: remove the file and a new one is made", path)
		}
		return token, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the admin token: %w", err)
	}
	token := base64.RawURLEncoding.EncodeToString(crypto.RandomBytes(32))
	tmp := path + ".tmp"
	os.Remove(tmp) // left by a crash
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("make the admin token: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("make the admin token: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return "", fmt.Errorf("make the admin token: %w", err)
	}
	return token, nil
}

// isAdmin compares in constant time, also of the lengths.
func (s *Server) isAdmin(r *http.Request) bool {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	got, want := crypto.Hash([]byte(bearer)), crypto.Hash([]byte(s.adminToken))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

func (s *Server) handleHealth(w http.ResponseWriter, _ *http.Request) {
	s.writeJSON(w, http.StatusOK, map[string]any{
		"ok": true, "version": s.cfg.Version, "uptime": time.Since(s.started).Seconds(), "draining": s.draining.Load(),
	})
}

// handleReady says yes only after it has written to both the journal and the data base.
func (s *Server) handleReady(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		s.writeError(w, s.refusal(errDraining()))
		return
	}
	if err := s.probe(r.Context()); err != nil {
		s.writeError(w, s.refusal(s.storeError("not ready", err)))
		return
	}
	s.writeJSON(w, http.StatusOK, map[string]any{"ok": true})
}

// Ready writes to the disk and returns nil when that went well, as /health/ready does. Errors: store.ErrFull among what else a
// disk says.
func (s *Server) Ready(ctx context.Context) error { return s.probe(ctx) }

// readiness is the last answer of probe.
type readiness struct {
	mu  sync.Mutex // held while probing: those who ask meanwhile get the same answer
	at  time.Time
	err error
}

// probe writes to both the journal and the data base, once a second however often it is asked.
func (s *Server) probe(ctx context.Context) error {
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	if !s.ready.at.IsZero() && time.Since(s.ready.at) < time.Second {
		return s.ready.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	err := s.db.Commit(func(tx *store.Tx) error {
		return tx.Put(bucketReady, []byte("ready"), []byte(s.now().UTC().Format(time.RFC3339Nano)))
	})
	s.ready.at, s.ready.err = time.Now(), errors.Join(err, s.queue.Ready(ctx))
	return s.ready.err
}

// visits limits what strangers may ask over HTTP, by address.
type visits struct {
	perMinute int

	mu     sync.Mutex
	byAddr map[string]*rate.Limiter
}

func newVisits(perMinute int) *visits {
	return &visits{perMinute: perMinute, byAddr: make(map[string]*rate.Limiter)}
}

func (v *visits) allow(addr string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.byAddr[addr]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(float64(v.perMinute)/60), v.perMinute)
		v.byAddr[addr] = l
	}
	return l.Allow()
}

// sweep forgets who has all his tokens back.
func (v *visits) sweep() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for addr, l := range v.byAddr {
		if l.Tokens() >= float64(v.perMinute) {
			delete(v.byAddr, addr)
		}
	}
}

// limited wraps a route that costs signature checks: it bounds the body and how often an address may come. Who has the admin
// token is not counted, nor is this machine.
func (s *Server) limited(h func(r *http.Request) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if addr := s.clientAddr(r); !isLoopback(addr) && !s.isAdmin(r) && !s.visits.allow(addr) {
			s.writeError(w, s.refusal(protocol.Refuse(protocol.CodeRateLimit, "more than %d requests a minute from one address",
				s.limits.HTTPPerAddress).RetryAfter(time.Minute/time.Duration(s.limits.HTTPPerAddress))))
			return
		}
		if s.draining.Load() {
			s.writeError(w, s.refusal(errDraining()))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, s.limits.HTTPBody)
		status, answer, err := h(r)
		if err != nil {
			s.writeError(w, s.refusal(err))
			return
		}
		s.writeJSON(w, status, answer)
	}
}

// readBody decodes the JSON body of a request.
func readBody(r *http.Request, v any) error {
	err := json.NewDecoder(r.Body).Decode(v)
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return protocol.Refuse(protocol.CodePayloadTooLarge, "the body is longer than %d bytes", e.Limit)
	}
	if err != nil {
		return protocol.Refuse(protocol.CodeBadFrame, "the body is not of its shape")
	}
	return nil
}

// writeJSON answers. What has no JSON is a fault of ours: it is logged, and the client hears that much.
func (s *Server) writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.log.Error("answer cannot be encoded", "err", err)
		status, b = http.StatusInternalServerError, []byte(`{"ok":false,"code":"internal","error":"internal error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n')) // an error means that the client went away
}

// httpError is the body of a refusal, the fields of JoinReply and CreateReply.
type httpError struct {
	OK         bool          `json:"ok"`
	Code       protocol.Code `json:"code"`
	Error      string        `json:"error"`
	Hint       string        `json:"hint,omitempty"`
	Retryable  bool          `json:"retryable,omitempty"`
	RetryAfter int64         `json:"retry_after_ms,omitempty"`
}

func (s *Server) writeError(w http.ResponseWriter, e *protocol.Error) {
	if e.After > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.After.Seconds()))))
	}
	s.writeJSON(w, httpStatus(e.Code), httpError{
		Code: e.Code, Error: e.Message, Hint: e.Hint, Retryable: e.Retryable, RetryAfter: e.After.Milliseconds(),
	})
}

func httpStatus(code protocol.Code) int {
	switch code {
	case protocol.CodeUnauthorized:
		return http.StatusUnauthorized
	case protocol.CodeForbidden, protocol.CodeForeign, protocol.CodeRevoked, protocol.CodeBlocked:
		return http.StatusForbidden
	case protocol.CodeNotFound, protocol.CodeUnknownRecipient:
		return http.StatusNotFound
	case protocol.CodeExists:
		return http.StatusConflict
	case protocol.CodeExpired, protocol.CodeClosedLink, protocol.CodeUsedUp:
		return http.StatusGone
	case protocol.CodePayloadTooLarge:
		return http.StatusRequestEntityTooLarge
	case protocol.CodeRateLimit, protocol.CodeCapacity, protocol.CodeQueueFull:
		return http.StatusTooManyRequests
	case protocol.CodeDraining, protocol.CodeStoreFailed:
		return http.StatusServiceUnavailable
	case protocol.CodeStoreFull, protocol.CodeQuota:
		return http.StatusInsufficientStorage
	case protocol.CodeInternal:
		return http.StatusInternalServerError
	case protocol.CodeNoUpgrade:
		return http.StatusUpgradeRequired
	}
	return http.StatusBadRequest
}
