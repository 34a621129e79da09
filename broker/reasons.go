package broker

import (
	"github.com/claudemesh/claudemesh/protocol"
)

// Kinds of connections in metrics and logs.
const (
	kindHello   = "hello" // not yet accepted
	kindControl = "control"
	kindSession = "session"
)

// Why a connection ended: the word in the log and in /metrics. The peer hears the close code and its text only.
const (
	endClient       = "client"        // the peer closed it in order
	endLost         = "lost"          // the connection broke without a close
	endSilent       = "silent"        // nothing heard for Limits.Silence
	endSlow         = "slow"          // did not read for Limits.WriteTimeout
	endTooLarge     = "too_large"     // a frame above the limit
	endBadFrame     = "bad_frame"     // not WebSocket, or not text
	endHelloTimeout = "hello_timeout" // no accepted hello in time
	endHelloRefused = "hello_refused"
	endReplaced     = "replaced" // a newer connection of the same key and instance
	endRevoked      = "revoked"
	endKicked       = "kicked"
	endNotMember    = "not_member" // the link that admitted the key is over
	endDeleted      = "deleted"    // the owner deleted the mesh
	endDraining     = "draining"
	endStoreFailed  = "store_failed" // reading the queue failed
)

var closeReasons = []string{endClient, endLost, endSilent, endSlow, endTooLarge, endBadFrame, endHelloTimeout, endHelloRefused,
	endReplaced, endRevoked, endKicked, endNotMember, endDeleted, endDraining, endStoreFailed}

// Why a message was given up before its recipient had it: the word in the log and in /metrics.
const (
	dropExpired   = "expired"
	dropRevoked   = "revoked"    // the recipient
	dropNotMember = "not_member" // the link that admitted the recipient is over
	dropForgotten = "forgotten"  // the recipient is a session key above Limits.MaxSessions
	dropDeleted   = "deleted"    // the mesh
)

var dropReasons = []string{dropExpired, dropRevoked, dropNotMember, dropForgotten, dropDeleted}

// refusalCodes are the codes that this broker answers with.
func refusalCodes() []string {
	codes := []protocol.Code{
		protocol.CodeAmbiguous, protocol.CodeBadFrame, protocol.CodeBadSignature, protocol.CodeBadStatement, protocol.CodeCapacity, protocol.CodeCloned,
		protocol.CodeClosedLink, protocol.CodeDraining, protocol.CodeExists, protocol.CodeExpired, protocol.CodeForbidden,
		protocol.CodeForeign, protocol.CodeInternal, protocol.CodeInvalid, protocol.CodeMeshFull, protocol.CodeNoHello, protocol.CodeNoUpgrade,
		protocol.CodeNotFound, protocol.CodeNotMember, protocol.CodeNotSupported, protocol.CodePayloadTooLarge, protocol.CodeQueueFull,
		protocol.CodeRateLimit, protocol.CodeRevoked, protocol.CodeStoreFailed, protocol.CodeStoreFull,
		protocol.CodeTimestamp, protocol.CodeUnauthorized, protocol.CodeUnavailable, protocol.CodeBlocked, protocol.CodeUnknownRecipient, protocol.CodeUnknownType,
		protocol.CodeUsedUp,
	}
	out := make([]string, len(codes))
	for i, c := range codes {
		out[i] = string(c)
	}
	return out
}
