package protocol

import (
	"errors"
	"fmt"
	"time"
)

// Code names a refusal, for programs. Codes are part of the protocol: they may be added, never renamed.
type Code string

// The codes that cross the wire between daemon and broker, and the local socket between command line and daemon.
const (
	CodeAlarm            Code = "alarm"             // content that claims to be from someone and is not proved to be
	CodeAmbiguous        Code = "ambiguous"         // a name or prefix matches more than one
	CodeBadFrame         Code = "bad_frame"         // not a JSON object of the expected shape
	CodeBadSignature     Code = "bad_signature"     // a signature does not verify
	CodeBadStatement     Code = "bad_statement"     // a signed block that breaks its rules
	CodeBlocked          Code = "blocked"           // the recipient does not take messages from this sender
	CodeCapacity         Code = "capacity"          // too many connections
	CodeCloned           Code = "cloned"            // the same key is connected from another instance
	CodeClosedLink       Code = "link_closed"       // the issuer closed the link
	CodeDowngrade        Code = "downgrade"         // the broker lacks what this mesh needs
	CodeDraining         Code = "draining"          // the broker is shutting down; try again elsewhere or later
	CodeExists           Code = "exists"            // there is one already
	CodeExpired          Code = "expired"           // past its time
	CodeForbidden        Code = "forbidden"         // known, but not allowed
	CodeForeign          Code = "foreign"           // of another mesh, or of another owner
	CodeInternal         Code = "internal"          // our fault; details are in the log
	CodeInvalid          Code = "invalid"           // an argument breaks its rule
	CodeKicked           Code = "kicked"            // an admin ended the connection
	CodeMeshFull         Code = "mesh_full"         // the mesh has as many statements as it may
	CodeNoHello          Code = "no_hello"          // a frame before hello
	CodeNotFound         Code = "not_found"         // no such thing
	CodeNoUpgrade        Code = "no_upgrade"        // a request to the WebSocket came without its Upgrade header
	CodeNotMember        Code = "not_member"        // the key belongs to no member of the mesh
	CodeNotSupported     Code = "not_supported"     // not something that this build does
	CodePayloadTooLarge  Code = "payload_too_large" // longer than the limit that the message names
	CodeQuota            Code = "quota"             // the files of a member, or of the mesh, take all the room that they may
	CodeQueueFull        Code = "queue_full"        // the recipient's queue is full; the sender keeps the message
	CodeRateLimit        Code = "rate_limit"        // too many requests; see retry_after_ms
	CodeRevoked          Code = "revoked"           // the key is revoked for ever
	CodeServiceNotReady  Code = "service_not_ready" // a service manager runs the daemon, which does not answer
	CodeSpawnFailed      Code = "spawn_failed"      // the daemon was started here and did not come up
	CodeStarting         Code = "starting"          // the daemon has not finished starting
	CodeStoreFailed      Code = "store_failed"      // the disk refused; nothing was acknowledged
	CodeStoreFull        Code = "store_full"        // the disk is full; nothing was acknowledged
	CodeTimeout          Code = "timeout"           // no answer in time
	CodeTimestamp        Code = "timestamp_skew"    // clocks differ by more than a minute
	CodeUnauthorized     Code = "unauthorized"      // no, or wrong, credentials
	CodeUnavailable      Code = "unavailable"       // not reachable at the moment
	CodeUnknownRecipient Code = "unknown_recipient" // nobody of that key in the mesh
	CodeUnknownSession   Code = "unknown_session"   // the daemon has no such live session
	CodeUnknownType      Code = "unknown_type"      // a frame type that the broker does not know
	CodeUsedUp           Code = "link_used_up"      // the link's uses are spent
)

// Error is a refusal as it crosses the wire or the local socket: a code for programs, a sentence for people, and what to do next.
type Error struct {
	Code      Code
	Message   string        // lower case, no trailing period
	Hint      string        // a next step for a person; may be empty
	Retryable bool          // the same request may succeed later
	After     time.Duration // how long to wait before a retry; zero: the caller's own backoff
	Names     []string      // what else could have been meant, for not_found and ambiguous
}

func (e *Error) Error() string { return e.Message }

// Refuse makes an *Error with a formatted message.
func Refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns e after setting its hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// RetryAfter returns e marked as retryable after d (zero: the caller's own backoff).
func (e *Error) RetryAfter(d time.Duration) *Error {
	e.Retryable, e.After = true, d
	return e
}

// CodeOf returns the code of the first *Error in err's chain, CodeInternal for any other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
