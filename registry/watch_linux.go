package registry

import (
	"golang.org/x/sys/unix"
)

// osWatcher waits for pidfds with epoll: a pidfd becomes readable when its process ends (pidfd_open(2)).
type osWatcher struct {
	epoll, wake int
	done        chan struct{}
}

func (o *osWatcher) start(w *watcher) {
	o.done = make(chan struct{})
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		o.epoll = -1
		close(o.done)
		return
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: 0})
	}
	if err != nil {
		unix.Close(epoll)
		o.epoll = -1
		close(o.done)
		return
	}
	o.epoll, o.wake = epoll, wake
	go o.loop(w)
}

func (o *osWatcher) loop(w *watcher) {
	defer close(o.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(o.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			if e.Fd == 0 { // ids of watches start at 1; 0 is the wake-up of stop
				return
			}
			w.fire(e.Fd)
		}
	}
}

func (o *osWatcher) add(entry *watch, p Process) (told, gone bool) {
	if o.epoll < 0 {
		return false, false
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err == unix.ESRCH {
		return true, true
	}
	if err != nil {
		return false, false // an old kernel, or a namespace that does not show the process: the sweep decides
	}
	// The pidfd is open first: if what it points to is still p, it will stay p.
	if Check(p) == Dead {
		unix.Close(fd)
		return true, true
	}
	if err := unix.EpollCtl(o.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: entry.id}); err != nil {
		unix.Close(fd)
		return false, false
	}
	entry.fd = fd
	return true, false
}

func (o *osWatcher) remove(entry *watch) {
	if entry.fd >= 0 {
		unix.EpollCtl(o.epoll, unix.EPOLL_CTL_DEL, entry.fd, nil)
		unix.Close(entry.fd)
		entry.fd = -1
	}
}

func (o *osWatcher) stop() {
	if o.epoll < 0 {
		return
	}
	unix.Write(o.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-o.done
	unix.Close(o.wake)
	unix.Close(o.epoll)
	o.epoll = -1
}
