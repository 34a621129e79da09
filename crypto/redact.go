package crypto

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redaction = "[redacted]"

var errSecret = errors.New("a secret key is not for output")

// redacted gives a secret type its only public face.
type redacted struct{}

// Format writes "[redacted]" under every verb.
func (redacted) Format(f fmt.State, _ rune) { io.WriteString(f, redaction) }

// LogValue returns "[redacted]".
func (redacted) LogValue() slog.Value { return slog.StringValue(redaction) }

// MarshalText is an error.
func (redacted) MarshalText() ([]byte, error) { return nil, errSecret }

// MarshalJSON is an error.
func (redacted) MarshalJSON() ([]byte, error) { return nil, errSecret }

// Format writes "[redacted]" under every verb.
func (Key) Format(f fmt.State, verb rune) { redacted{}.Format(f, verb) }

// LogValue returns "[redacted]".
func (Key) LogValue() slog.Value { return redacted{}.LogValue() }

// MarshalText is an error.
func (Key) MarshalText() ([]byte, error) { return nil, errSecret }

// MarshalJSON is an error.
func (Key) MarshalJSON() ([]byte, error) { return nil, errSecret }
