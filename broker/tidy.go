package broker

import (
	"runtime"
	"runtime/debug"
)

// tidyAbove is how many bytes that nobody uses are worth a collection.
const tidyAbove = 24 << 20

// tidier gives back to the system what a burst of connections or messages has left, once a whole sweep has seen neither: the
// runtime keeps as much again as is in use, and a broker shares its machine.
type tidier struct {
	seen uint64 // activity at the last sweep
	done uint64 // and when it was tidy
}

// sweep is called with a number that grows with all that happens.
func (t *tidier) sweep(activity uint64) {
	quiet := activity == t.seen
	t.seen = activity
	if !quiet || activity == t.done {
		return
	}
	t.done = activity
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapSys-m.HeapReleased > m.HeapAlloc/2+tidyAbove {
		debug.FreeOSMemory()
	}
}

// activity grows with each connection and each message.
func (s *Server) activity() uint64 { return s.arrivals.Load() + s.queue.Stats().Accepted }
