package api

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
)

// route is a handler that reports a refusal by returning it.
type route func(w http.ResponseWriter, r *http.Request) error

// Table lists the routes by pattern.
func (d *API) Table() map[string]route {
	return map[string]route{
		"GET /v1/health":           d.handleHealth,
		"GET /v1/network":          d.handleNetwork,
		"GET /v1/meshes":           d.handleMeshes,
		"GET /v1/whoami":           d.handleWhoAmI,
		"GET /v1/peers":            d.handlePeers,
		"GET /v1/members":          d.handleMembers,
		"GET /v1/groups":           d.handleGroups,
		"POST /v1/send":            d.handleSend,
		"POST /v1/ping":            decoded(d.handlePing),
		"GET /v1/messages/{id}":    d.handleMessage,
		"GET /v1/inbox":            d.handleInbox,
		"POST /v1/inbox/read":      d.handleRead,
		"POST /v1/inbox/delete":    d.handleDelete,
		"POST /v1/inbox/flush":     d.handleFlush,
		"GET /v1/events":           d.handleEvents,
		"POST /v1/presence":        decoded(d.handlePresence),
		"GET /v1/invites":          fromEach(d.Roster, (*mesh.Mesh).Invites),
		"POST /v1/invites":         decoded(d.handleInvite),
		"DELETE /v1/invites/{id}":  d.handleCloseInvite,
		"POST /v1/publish":         decoded(d.handlePublish),
		"POST /v1/members/ban":     decoded(d.handleBan),
		"POST /v1/members/admit":   decoded(d.handleAdmit),
		"POST /v1/members/verify":  decoded(d.handleVerify),
		"GET /v1/statements":       d.handleStatements,
		"GET /v1/devices":          fromEach(d.Roster, always((*mesh.Mesh).Devices)),
		"POST /v1/devices/revoke":  decoded(d.handleRevokeDevice),
		"GET /v1/apikeys":          fromEach(d.Roster, (*mesh.Mesh).APIKeys),
		"POST /v1/apikeys":         decoded(d.handleCreateAPIKey),
		"POST /v1/apikeys/revoke":  decoded(d.handleRevokeAPIKey),
		"GET /v1/grants":           fromEach(d.Roster, always((*mesh.Mesh).GrantList)),
		"POST /v1/grants":          decoded(d.handleGrant),
		"GET /v1/op":               d.handleOpNonce,
		"POST /v1/op":              decoded(d.handleOp),
		"POST /v1/backup":          decoded(d.handleBackup),
		"POST /v1/accept-host":     d.handleAcceptHost,
		"POST /v1/leave":           d.handleLeave,
		"GET /v1/outbox":           fromEach(d.Roster, (*mesh.Mesh).Outbox),
		"GET /v1/sent":             d.handleSent,
		"GET /v1/gaps":             fromEach(d.Roster, (*mesh.Mesh).Gaps),
		"POST /v1/outbox/requeue":  d.handleRequeue,
		"POST /v1/sessions":        decoded(d.handleRegister),
		"GET /v1/sessions":         d.handleSessions,
		"DELETE /v1/sessions/{id}": d.handleEndSession,
		"POST /v1/mail/take":       d.handleTake,
		"POST /v1/mail/open":       decoded(d.handleOpen),
		"POST /v1/mail/settle":     decoded(d.handleSettle),
		"POST /v1/mail/held":       d.handleHeld,
		"POST /v1/accept":          decoded(d.handleAccept),
		"POST /v1/hook":            d.handleHook,
		"GET /v1/statusline":       d.handleStatusLine,
		"POST /v1/shutdown":        d.handleShutdown,
	}
}

func (d *API) Routes() http.Handler {
	mux := http.NewServeMux()
	for _, table := range []map[string]route{d.Table(), d.RESTTable(), d.fileTable(), d.recall.table(), askAPI{d.Roster, d.asks, d.host}.table()} {
		for pattern, handle := range table {
			mux.Handle(pattern, d.handler(handle))
		}
	}
	mux.Handle("/", d.handler(func(_ http.ResponseWriter, r *http.Request) error {
		return protocol.Refuse(protocol.CodeNotFound, "no route %s %s", r.Method, r.URL.Path)
	}))
	return mux
}

// handler guards a route and turns its error into the answer.
func (d *API) handler(handle route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		boundBody(r)
		err := checkOrigin(r)
		if err == nil {
			err = handle(w, r)
		}
		if err != nil {
			d.refuse(w, r, err)
		}
	})
}

// checkOrigin refuses what a browser could be made to send, should anything ever put this socket behind a port.
func checkOrigin(r *http.Request) error {
	if r.Header.Get("Origin") != "" || r.Host != "claudemesh" && r.Host != "localhost" {
		return protocol.Refuse(protocol.CodeForbidden, "the local socket does not serve web pages")
	}
	return nil
}

// refuse answers with an error. What is no *protocol.Error is ours: the reader learns that, the log the rest.
func (d *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if left, ok := errors.AsType[leftOutError](err); ok { // the rest was answered
		d.Log.Error("items of an answer cannot be encoded", "route", r.Pattern, "items", len(left.causes), "err", left.causes[0])
		return
	}
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok {
		d.Log.Error("request failed", "route", r.Pattern, "err", err)
		e = protocol.Refuse(protocol.CodeInternal, "the daemon could not do this").WithHint("claudemesh daemon logs says why")
	}
	if e.After > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.After.Seconds()))))
	}
	if err := answer(w, statusOf(e.Code), protocol.ErrorReply{Error: protocol.ErrorBody{
		Code: e.Code, Message: e.Message, Hint: e.Hint, Retryable: e.Retryable, RetryAfter: e.After.Milliseconds(), Names: e.Names,
	}}); err != nil {
		d.Log.Error("refusal cannot be encoded", "route", r.Pattern, "err", err)
	}
}

// statusOf is the HTTP status of a code. Programs go by the code.
func statusOf(code protocol.Code) int {
	switch code {
	case protocol.CodeInvalid, protocol.CodeBadFrame, protocol.CodeBadStatement, protocol.CodeBadSignature:
		return http.StatusBadRequest
	case protocol.CodeUnauthorized:
		return http.StatusUnauthorized
	case protocol.CodeForbidden, protocol.CodeRevoked, protocol.CodeBlocked, protocol.CodeForeign, protocol.CodeAlarm, protocol.CodeNotMember:
		return http.StatusForbidden
	case protocol.CodeNotFound, protocol.CodeUnknownRecipient:
		return http.StatusNotFound
	case protocol.CodeExists, protocol.CodeAmbiguous:
		return http.StatusConflict
	case protocol.CodeExpired, protocol.CodeClosedLink, protocol.CodeUsedUp:
		return http.StatusGone
	case protocol.CodePayloadTooLarge:
		return http.StatusRequestEntityTooLarge
	case protocol.CodeRateLimit, protocol.CodeQueueFull, protocol.CodeCapacity:
		return http.StatusTooManyRequests
	case protocol.CodeNotSupported, protocol.CodeUnknownType:
		return http.StatusNotImplemented
	case protocol.CodeUnavailable, protocol.CodeStarting, protocol.CodeDraining:
		return http.StatusServiceUnavailable
	case protocol.CodeTimeout:
		return http.StatusGatewayTimeout
	case protocol.CodeStoreFull, protocol.CodeStoreFailed:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}
