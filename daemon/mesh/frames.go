package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/claudemesh/claudemesh/protocol"
)

// What the broker says is bounded where it is decoded: a number to what can be reckoned with, a text to
// what can be kept and shown.
const maxBrokerWord = 128 // bytes of a word of the broker's: a status, a session id, the time of a connection

// decodeFrame decodes a frame into v. A field whose value does not fit keeps its zero value and is logged:
// the other fields count all the same.
func decodeFrame(log *slog.Logger, frame []byte, v any) error {
	err := json.Unmarshal(frame, v)
	if bad, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		log.Warn("malformed field in a frame", "field", bad.Field, "value", protocol.Cut(bad.Value, maxBrokerWord))
		return nil
	}
	return err
}

// brokerWord makes a word of the broker's fit to be shown.
func brokerWord(s string) string {
	if s == "" {
		return ""
	}
	return protocol.NeutralizeName(protocol.Cut(s, maxBrokerWord))
}

// guarded runs f, and makes an error of a panic in it. It stands where what others sent is worked on, as
// net/http does it for a request: a fault of ours that one frame finds must cost that frame, not the daemon.
func guarded(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Error("panic", "value", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}
