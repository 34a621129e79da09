package broker

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// maxEarly frames may come before an accepted hello: a challenge and a hello, with room for a client that asks first what a
// broker is.
const maxEarly = 16

// handle answers one frame. Only readLoop calls it.
func (c *conn) handle(frame []byte) {
	if c.ended.Load() { // what comes after our close is not read any more
		return
	}
	if c.mesh == nil {
		if c.early++; c.early > maxEarly {
			c.srv.metrics.refusals.WithLabelValues(string(protocol.CodeNoHello)).Inc()
			c.end(ending{code: websocket.ClosePolicyViolation, text: string(protocol.CodeNoHello), reason: endHelloRefused})
			return
		}
	}
	typ, err := protocol.FrameType(frame)
	switch {
	case err != nil:
		c.refuse(tagOf(frame, ""), err)
	case c.mesh == nil:
		c.handleBeforeHello(typ, frame)
	case typ == protocol.TypeSend:
		c.handleSend(frame)
	case typ == protocol.TypeClientAck:
		c.handleClientAck(frame)
	default:
		c.handleRequest(typ, frame)
	}
}

func (c *conn) handleBeforeHello(typ string, frame []byte) {
	tag := tagOf(frame, typ)
	switch typ {
	case protocol.TypeHelloChallenge:
		c.handleChallenge(tag)
	case protocol.TypeHello, protocol.TypeSessionHello:
		c.handleHello(tag, frame)
	default:
		c.refuse(tag, protocol.Refuse(protocol.CodeNoHello, "say hello first"))
	}
}

// handleRequest answers the requests that are not frequent. Each takes one of the member's tokens.
func (c *conn) handleRequest(typ string, frame []byte) {
	tag := tagOf(frame, typ)
	err := c.member.takeToken()
	if err == nil && c.mesh.gone.Load() {
		err = protocol.Refuse(protocol.CodeNotFound, "the mesh was deleted by its owner")
	}
	if err == nil {
		err = c.request(tag, frame)
	}
	if err != nil {
		c.refuse(tag, err)
	}
}

// requests are the frames that a client may send after hello, send and client_ack aside.
var requests = map[string]func(c *conn, tag protocol.Tag, frame []byte) error{
	protocol.TypeHelloChallenge: (*conn).handleOpChallenge,
	protocol.TypeHello:          (*conn).handleSecondHello,
	protocol.TypeSessionHello:   (*conn).handleSecondHello,
	protocol.TypePublish:        (*conn).handlePublish,
	protocol.TypeLog:            (*conn).handleLog,
	protocol.TypeListMembers:    (*conn).handleListMembers,
	protocol.TypeListPeers:      (*conn).handleListPeers,
	protocol.TypeReceipt:        (*conn).handleReceipt,
	protocol.TypeSetStatus:      (*conn).handleSetStatus,
	protocol.TypeSetCard:        (*conn).handleSetCard,
	protocol.TypeSetGrants:      (*conn).handleSetGrants,
	protocol.TypeMessageStatus:  (*conn).handleMessageStatus,
	protocol.TypeAPIKeyCreate:   (*conn).handleKeyCreate,
	protocol.TypeAPIKeyList:     (*conn).handleKeyList,
	protocol.TypeAPIKeyRevoke:   (*conn).handleKeyRevoke,
	protocol.TypeOp:             (*conn).handleOp,
}

func (c *conn) request(tag protocol.Tag, frame []byte) error {
	handle := requests[tag.Type]
	if handle == nil {
		return protocol.Refuse(protocol.CodeUnknownType, "this broker does not know requests of type %s", tag.Type)
	}
	return handle(c, tag, frame)
}

// handleOpChallenge gives the nonce for an op.
func (c *conn) handleOpChallenge(tag protocol.Tag, _ []byte) error {
	c.handleChallenge(tag)
	return nil
}

func (c *conn) handleSecondHello(protocol.Tag, []byte) error {
	return protocol.Refuse(protocol.CodeInvalid, "this connection said hello already")
}

// tagOf reads the request id of a frame whose type is known; one without a readable id gets an answer without one.
func tagOf(frame []byte, typ string) protocol.Tag {
	var t struct {
		ReqID string `json:"_reqId"`
	}
	if json.Unmarshal(frame, &t) != nil || len(t.ReqID) > maxReqID {
		t.ReqID = ""
	}
	return protocol.Tag{Type: typ, ReqID: t.ReqID}
}

const maxReqID = 128 // characters, as the splitter has it

// ok answers a request that has nothing to return. One that did not ask for an answer gets none.
func (c *conn) ok(tag protocol.Tag) {
	if tag.ReqID != "" {
		c.reply(protocol.OK{Tag: protocol.Tag{Type: protocol.TypeOK, ReqID: tag.ReqID}})
	}
}

func errShape(tag protocol.Tag) error {
	return protocol.Refuse(protocol.CodeBadFrame, "%s is not of its shape", tag.Type)
}

func errDraining() *protocol.Error {
	return protocol.Refuse(protocol.CodeDraining, "this broker is shutting down").RetryAfter(drainRetry)
}

// refusal is what the peer hears of err: refusals as they are, anything else as internal, with the truth in the log. It
// counts it.
func (s *Server) refusal(err error) *protocol.Error {
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok {
		s.log.Error("internal error", "err", err)
		e = protocol.Refuse(protocol.CodeInternal, "internal error").RetryAfter(0)
	}
	s.metrics.refusals.WithLabelValues(string(e.Code)).Inc()
	return e
}

// storeError turns a refusal of the disk into one for the peer: nothing was kept, he may try again.
func (s *Server) storeError(what string, err error) error {
	if _, ok := errors.AsType[*protocol.Error](err); ok {
		return err
	}
	level := slog.LevelDebug
	if now := time.Now().Unix(); s.storeLogged.Swap(now) != now { // a dead disk refuses every message: one line a second tells it
		level = slog.LevelError
	}
	s.log.Log(context.Background(), level, what, "err", err)
	if errors.Is(err, store.ErrFull) {
		return protocol.Refuse(protocol.CodeStoreFull, "the broker's disk is full").RetryAfter(storeRetry)
	}
	return protocol.Refuse(protocol.CodeStoreFailed, "the broker's disk refused").RetryAfter(storeRetry)
}
