package broker

import (
	"crypto/sha256"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

// refusedKeysPerMinute is how many wrong keys of one address are answered with a reason.
const refusedKeysPerMinute = 30

// exposed is why a key is revoked whose user sent both halves of its secret.
const exposed = "both halves of its secret were sent to the broker"

// restCall is one request of an API key.
type restCall struct {
	k *apiKey
	m *mesh
	r *http.Request
	w http.ResponseWriter
}

// restRoute is a route of API keys.
type restRoute struct {
	pattern string
	needs   string // capability; empty: any key
	handle  func(*restCall) (any, error)
}

// restRoutes are the routes of API keys. Bodies are envelopes that the key sealed, or that were sealed to it.
var restRoutes = []restRoute{
	{"GET /api/v1/key", "", (*restCall).key},
	{"GET /api/v1/log", "", (*restCall).log},
	{"GET /api/v1/members", protocol.KeyCapRead, (*restCall).members},
	{"GET /api/v1/peers", protocol.KeyCapRead, (*restCall).peers},
	{"POST /api/v1/messages", protocol.KeyCapSend, (*restCall).send},
	{"GET /api/v1/messages", protocol.KeyCapRead, (*restCall).list},
	{"GET /api/v1/messages/{id}", protocol.KeyCapRead, (*restCall).one},
	{"GET /api/v1/messages/{id}/status", protocol.KeyCapSend, (*restCall).status},
	{"POST /api/v1/messages/ack", protocol.KeyCapRead, (*restCall).ack},
	{"GET /api/v1/events", protocol.KeyCapRead, (*restCall).events},
}

func (s *Server) keyRoutes(mux *http.ServeMux) {
	for _, route := range restRoutes {
		mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, protocol.MaxFrame)
			c := &restCall{r: r, w: w}
			err := c.authorise(s, &route)
			var answer any
			if err == nil {
				answer, err = route.handle(c)
			}
			switch {
			case err != nil:
				s.restRefuse(w, r, err)
			case answer != nil: // a stream has answered already
				s.writeJSON(w, http.StatusOK, answer)
			}
		})
	}
}

// keyError is a refusal that has to do with the key of the request.
type keyError struct {
	code    string
	refusal *protocol.Error
}

func (e keyError) Error() string { return e.refusal.Message }
func (e keyError) Unwrap() error { return e.refusal }

// authorise finds out whose request it is and whether he may. What failed is told so that no key can be guessed by it.
func (c *restCall) authorise(s *Server, route *restRoute) error {
	text, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	if !ok || text == "" {
		return s.noKey(c.r, protocol.RESTKeyMissing, "the request has no API key: Authorization: Bearer cm_…")
	}
	bearer, _, whole := strings.Cut(text, ".")
	hash := sha256.Sum256([]byte(bearer))
	k := s.bearer(hash)
	if whole {
		if k != nil {
			k.expose()
		}
		return s.noKey(c.r, protocol.RESTKeyInvalid, "that is the whole secret: only its first half, before the dot, may leave the program. The key is revoked now")
	}
	if k == nil {
		return s.noKey(c.r, protocol.RESTKeyInvalid, "this API key is not known")
	}
	m := k.mesh
	m.mu.Lock()
	err := k.goodLocked(m.srv.now())
	m.mu.Unlock()
	if err != nil {
		return s.noKey(c.r, protocol.RESTKeyInvalid, "this API key is revoked or expired")
	}
	if s.draining.Load() {
		return errDraining()
	}
	if err := k.member.takeToken(); err != nil {
		return err
	}
	if route.needs != "" && !k.body.Can(route.needs) {
		return keyError{protocol.RESTKeyNotEnough, protocol.Refuse(protocol.CodeForbidden, "this API key may not %s", route.needs)}
	}
	c.k, c.m = k, m
	m.keyUsed(k)
	return nil
}

// noKey refuses a request for its key. Who goes on trying hears less.
func (s *Server) noKey(r *http.Request, code, text string) error {
	if !s.refusedKeys.allow(s.clientAddr(r)) {
		return protocol.Refuse(protocol.CodeRateLimit, "too many requests without a good key").RetryAfter(drainRetry)
	}
	return keyError{code, protocol.Refuse(protocol.CodeUnauthorized, "%s", text)}
}

// expose revokes a key whose secret is not secret any more. It stays refused until the disk takes it, too.
func (k *apiKey) expose() {
	m := k.mesh
	m.publishing.Lock()
	defer m.publishing.Unlock()
	already, err := k.revoke(exposed)
	if err != nil || already {
		return
	}
	m.srv.log.Warn("API key revoked", "mesh", m.id, "id", k.body.Key.Short(), "reason", exposed)
	m.note(auditKeyRevoked, k.body.Member, auditDetail{Key: k.body.Key.String(), Label: k.body.Label, Reason: exposed})
}

func (s *Server) restRefuse(w http.ResponseWriter, r *http.Request, err error) {
	e := s.refusal(err)
	code := string(e.Code)
	if ke, ok := err.(keyError); ok {
		code = ke.code
	}
	if e.After > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.After.Seconds()))))
	}
	status := httpStatus(e.Code)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	s.writeJSON(w, status, protocol.RESTError{
		Code: code, Message: e.Message, Status: status, Timestamp: timeText(s.now().UnixMilli()), Path: r.URL.Path, RetryAfter: e.After.Milliseconds(),
	})
}

func (c *restCall) key() (any, error) {
	return protocol.RESTKey{
		MeshID: string(c.m.id), ID: c.k.body.Key.String(), Label: c.k.body.Label, Capabilities: c.k.body.Caps, Statement: c.k.st.Text(),
		Time: c.m.srv.now().UnixMilli(),
	}, nil
}

func (c *restCall) log() (any, error) {
	after, err := numberOf(c.r, "after")
	if err != nil {
		return nil, err
	}
	c.m.mu.Lock()
	f := c.m.logAfterLocked(after)
	c.m.mu.Unlock()
	return protocol.RESTLog{Statements: f.Statements, Cursor: f.Cursor, More: f.More}, nil
}

func numberOf(r *http.Request, name string) (uint64, error) {
	text := r.FormValue(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, protocol.Refuse(protocol.CodeInvalid, "%s is not a number", name)
	}
	return n, nil
}

// send queues an envelope of the key's. The answer comes when it is on disk.
func (c *restCall) send() (any, error) {
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return nil, protocol.Refuse(protocol.CodePayloadTooLarge, "the body is longer than %d bytes", protocol.MaxFrame)
	}
	v, err := protocol.SplitSend(body)
	if err == nil {
		err = checkSend(&v)
	}
	if err != nil {
		return nil, err
	}
	if v.Sender != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "the sender is the key of the request")
	}
	if v.NumWraps() > 0 || v.TargetSpec[0] == '*' || v.TargetSpec[0] == '@' {
		return nil, protocol.Refuse(protocol.CodeForbidden, "an API key writes direct messages only")
	}
	return c.queue(&v)
}

func (c *restCall) queue(v *protocol.SendView) (any, error) {
	m, p := c.m, c.k.member
	type answer struct {
		id  string
		err error
	}
	answered := make(chan answer, 1)
	now := m.srv.now()
	m.mu.Lock()
	if s, ok := p.recent.repeat(v.ID); ok {
		if p.recent.differs(s, v) {
			m.mu.Unlock()
			return nil, errOtherMessage()
		}
		m.srv.metrics.repeats.Inc()
		if s.committed {
			answered <- answer{string(s.messageID[:]), nil}
		} else {
			id := string(s.messageID[:])
			p.recent.wait(s, func(err error) { answered <- answer{id, err} })
		}
		m.mu.Unlock()
	} else {
		o, err := m.acceptLocked(p, c.k.body.Key, c.k.body.Can(protocol.KeyCapRead), v, now)
		m.mu.Unlock()
		if err != nil {
			return nil, err
		}
		o.answer = func(id string, err error) { answered <- answer{id, err} }
		o.put(v, now)
	}
	a := <-answered // the queue answers always, also when it closes
	if a.err != nil {
		return nil, m.srv.storeError("queue message", a.err)
	}
	return protocol.RESTSent{MessageID: a.id, ID: string(v.ID), Queued: true}, nil
}

// status tells how far a message is that this member sent, by its whole id.
func (c *restCall) status() (any, error) {
	id := c.r.PathValue("id")
	st, err := c.m.stateOf(c.k.member, id)
	if err == nil && !st.is(id) {
		err = protocol.Refuse(protocol.CodeNotFound, "no message %s that this broker remembers", id)
	}
	if err != nil {
		return nil, err
	}
	return st.MessageState, nil
}
