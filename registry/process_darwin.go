package registry

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// bootID is the boot time, which no two boots share.
var bootID = sync.OnceValue(func() string {
	t, err := unix.SysctlTimeval("kern.boottime")
	if err != nil {
		return ""
	}
	return strconv.FormatInt(t.Sec, 10)
})

func exists(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := unix.Kill(pid, 0)
	return err == nil || err == unix.EPERM
}

func identify(pid int) (Process, error) {
	p := Process{PID: pid, Boot: bootID()}
	if !exists(pid) {
		return p, fmt.Errorf("process %d: no such process", pid)
	}
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return p, nil // alive, but not to be read: bare liveness decides
	}
	t := info.Proc.P_starttime
	p.Start = uint64(t.Sec)*1e6 + uint64(t.Usec)
	return p, nil
}

func ancestry(pid int) (name string, parent int, err error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", 0, err
	}
	comm := info.Proc.P_comm[:]
	if i := bytes.IndexByte(comm, 0); i >= 0 {
		comm = comm[:i]
	}
	return string(comm), int(info.Eproc.Ppid), nil
}
