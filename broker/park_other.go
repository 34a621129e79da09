//go:build !linux

package broker

// parking is of Linux: elsewhere each connection keeps the goroutine that reads it.
type parking struct{ read func(*conn) }

func (*parking) park(*conn) bool { return false }
func (*parking) forget(*conn)    {}
func (*parking) close()          {}
