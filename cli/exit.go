package cli

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"syscall"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// The exit codes. Scripts rely on them; they never change their meaning.
const (
	exitOK           = 0
	exitRefused      = 1
	exitUnauthorised = 2
	exitUsage        = 3
	exitUnreachable  = 4 // network or daemon, or not yet in the required state
	exitNotFound     = 5
	exitExists       = 6
	exitDenied       = 7
	exitInternal     = 8
	exitIO           = 10 // 9 is exitNoClaude
)

var exits = map[protocol.Code]int{
	protocol.CodeAlarm:            exitRefused,
	protocol.CodeAmbiguous:        exitUsage,
	protocol.CodeBadFrame:         exitRefused,
	protocol.CodeBadSignature:     exitRefused,
	protocol.CodeBadStatement:     exitRefused,
	protocol.CodeBlocked:          exitDenied,
	protocol.CodeCapacity:         exitUnreachable,
	protocol.CodeCloned:           exitRefused,
	protocol.CodeClosedLink:       exitRefused,
	protocol.CodeDowngrade:        exitDenied,
	protocol.CodeDraining:         exitUnreachable,
	protocol.CodeExists:           exitExists,
	protocol.CodeExpired:          exitRefused,
	protocol.CodeForbidden:        exitDenied,
	protocol.CodeForeign:          exitRefused,
	protocol.CodeInternal:         exitInternal,
	protocol.CodeInvalid:          exitUsage,
	protocol.CodeKicked:           exitRefused,
	protocol.CodeMeshFull:         exitRefused,
	protocol.CodeNoHello:          exitRefused,
	protocol.CodeNotFound:         exitNotFound,
	protocol.CodeNoUpgrade:        exitUnreachable,
	protocol.CodeNotMember:        exitUnauthorised,
	protocol.CodeNotSupported:     exitRefused,
	protocol.CodePayloadTooLarge:  exitUsage,
	protocol.CodeQueueFull:        exitRefused,
	protocol.CodeQuota:            exitRefused,
	protocol.CodeRateLimit:        exitRefused,
	protocol.CodeRevoked:          exitUnauthorised,
	protocol.CodeServiceNotReady:  exitUnreachable,
	protocol.CodeSpawnFailed:      exitUnreachable,
	protocol.CodeStarting:         exitUnreachable,
	protocol.CodeStoreFailed:      exitIO,
	protocol.CodeStoreFull:        exitIO,
	protocol.CodeTimeout:          exitUnreachable,
	protocol.CodeTimestamp:        exitRefused,
	protocol.CodeUnauthorized:     exitUnauthorised,
	protocol.CodeUnavailable:      exitUnreachable,
	protocol.CodeUnknownRecipient: exitNotFound,
	protocol.CodeUnknownSession:   exitNotFound,
	protocol.CodeUnknownType:      exitRefused,
	protocol.CodeUsedUp:           exitRefused,
	codeNoSuchKey:                 exitNotFound,
	codeBadKeyRef:                 exitUsage,
}

// exitCode maps what a verb returned to the process's exit code.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	return exits[classify(err).Code]
}

// classify turns any error into a refusal with a code: errors of ours as they are, those of the system by their kind.
func classify(err error) *protocol.Error {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		shown := *e
		shown.Message = err.Error() // with the context that was wrapped around it
		return &shown
	}
	code := protocol.CodeInternal
	if _, ok := errors.AsType[*net.OpError](err); ok {
		code = protocol.CodeUnavailable
	} else if _, ok := errors.AsType[*fs.PathError](err); ok {
		code = protocol.CodeStoreFailed
	} else if _, ok := errors.AsType[syscall.Errno](err); ok {
		code = protocol.CodeStoreFailed
	} else if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		code = protocol.CodeTimeout
	}
	return &protocol.Error{Code: code, Message: err.Error(), Hint: config.DeniedHint(err)}
}
