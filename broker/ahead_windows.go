package broker

import "errors"

// fillAhead is never called: there is no raw connection that reads like this.
func (c *coalescer) fillAhead() error { return errors.ErrUnsupported }

const canReadAhead = false
