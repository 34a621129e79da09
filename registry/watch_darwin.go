package registry

import "golang.org/x/sys/unix"

// osWatcher waits with kqueue's EVFILT_PROC, NOTE_EXIT (kqueue(2)).
type osWatcher struct {
	kq   int
	done chan struct{}
	byPD map[int][]int32 // watches per process id; guarded by watcher.mu
}

const wakeIdent = 1 // EVFILT_USER event that ends the loop

func (o *osWatcher) start(w *watcher) {
	o.done, o.byPD = make(chan struct{}), map[int][]int32{}
	kq, err := unix.Kqueue()
	if err == nil {
		unix.CloseOnExec(kq)
		wake := unix.Kevent_t{Ident: wakeIdent, Filter: unix.EVFILT_USER, Flags: unix.EV_ADD | unix.EV_CLEAR}
		_, err = unix.Kevent(kq, []unix.Kevent_t{wake}, nil, nil)
	}
	if err != nil {
		o.kq = -1
		close(o.done)
		return
	}
	o.kq = kq
	go o.loop(w)
}

func (o *osWatcher) loop(w *watcher) {
	defer close(o.done)
	events := make([]unix.Kevent_t, 64)
	for {
		n, err := unix.Kevent(o.kq, nil, events, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			if e.Filter == unix.EVFILT_USER {
				return
			}
			w.mu.Lock()
			ids := o.byPD[int(e.Ident)]
			delete(o.byPD, int(e.Ident))
			w.mu.Unlock()
			for _, id := range ids {
				w.fire(id)
			}
		}
	}
}

func (o *osWatcher) add(entry *watch, p Process) (told, gone bool) {
	if o.kq < 0 {
		return false, false
	}
	ev := unix.Kevent_t{Ident: uint64(p.PID), Filter: unix.EVFILT_PROC, Flags: unix.EV_ADD | unix.EV_ONESHOT, Fflags: unix.NOTE_EXIT}
	_, err := unix.Kevent(o.kq, []unix.Kevent_t{ev}, nil, nil)
	if err == unix.ESRCH || err == nil && Check(p) == Dead {
		return true, true
	}
	if err != nil {
		return false, false
	}
	o.byPD[p.PID] = append(o.byPD[p.PID], entry.id)
	return true, false
}

func (o *osWatcher) remove(entry *watch) {
	ids := o.byPD[entry.pid]
	for i, id := range ids {
		if id == entry.id {
			o.byPD[entry.pid] = append(ids[:i:i], ids[i+1:]...)
		}
	}
}

func (o *osWatcher) stop() {
	if o.kq < 0 {
		return
	}
	unix.Kevent(o.kq, []unix.Kevent_t{{Ident: wakeIdent, Filter: unix.EVFILT_USER, Fflags: unix.NOTE_TRIGGER}}, nil, nil)
	<-o.done
	unix.Close(o.kq)
	o.kq = -1
}
