package registry

import "sync"

// A watcher calls back when a process ends, where the system tells. One goroutine serves all processes.
type watcher struct {
	mu     sync.Mutex
	byID   map[int32]*watch
	nextID int32
	closed bool
	os     osWatcher
}

type watch struct {
	id    int32
	fd    int // pidfd, or -1
	pid   int
	ended func()
}

func newWatcher() *watcher {
	w := &watcher{byID: map[int32]*watch{}}
	w.os.start(w)
	return w
}

// add watches p and returns how to stop, and whether the system will tell. ended is called at most once, from the watcher's goroutine; it is
// called at once if p is gone already.
func (w *watcher) add(p Process, ended func()) (cancel func(), told bool) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return func() {}, false
	}
	w.nextID++
	entry := &watch{id: w.nextID, fd: -1, pid: p.PID, ended: ended}
	w.byID[entry.id] = entry
	told, gone := w.os.add(entry, p)
	if !told || gone {
		delete(w.byID, entry.id)
	}
	w.mu.Unlock()
	if gone {
		ended()
		return func() {}, true
	}
	return func() { w.remove(entry.id) }, told
}

func (w *watcher) remove(id int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if entry := w.byID[id]; entry != nil {
		delete(w.byID, id)
		w.os.remove(entry)
	}
}

// fire is called by the system's part when a watched process ended.
func (w *watcher) fire(id int32) {
	w.mu.Lock()
	entry := w.byID[id]
	if entry != nil {
		delete(w.byID, id)
		w.os.remove(entry)
	}
	w.mu.Unlock()
	if entry != nil {
		entry.ended()
	}
}

// close stops the goroutine and waits for it. Nobody is called back afterwards.
func (w *watcher) close() {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.closed = true
	for id, entry := range w.byID {
		delete(w.byID, id)
		w.os.remove(entry)
	}
	w.mu.Unlock()
	w.os.stop()
}
