package table

import (
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Refusal turns an error of the store into what a person can act on. Refusals pass through.
func Refusal(verb string, err error) error {
	var refusal *protocol.Error
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.Is(err, store.ErrFull):
		return protocol.Refuse(protocol.CodeStoreFull, "the disk is full: nothing was kept").
			WithHint("free some space and repeat").RetryAfter(0)
	case errors.Is(err, store.ErrReadOnly):
		return protocol.Refuse(protocol.CodeStoreFailed, "the disk takes no writes: nothing was kept").RetryAfter(0)
	}
	return fmt.Errorf("%s: %w", verb, err)
}
