package registry

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// bootID is the kernel's random id of this boot, "" where it cannot be read.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})

// uniqueInodes says whether pidfds have inodes of their own (pidfs). Before that all share one anonymous inode.
var uniqueInodes = sync.OnceValue(func() bool {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	const pidfsMagic = 0x50494446
	return unix.Fstatfs(fd, &fs) == nil && int64(fs.Type) == pidfsMagic
})

func exists(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := unix.Kill(pid, 0)
	return err == nil || err == unix.EPERM
}

// identify opens the pidfd first and reads the start time second, so that both are of one process: if it ends in between, the pidfd says so.
func identify(pid int) (Process, error) {
	p := Process{PID: pid, Boot: bootID()}
	if pid <= 0 {
		return p, fmt.Errorf("process %d: no such process", pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH || err == unix.EINVAL {
		return p, fmt.Errorf("process %d: %w", pid, err)
	}
	if err == nil {
		defer unix.Close(fd)
		var st unix.Stat_t
		if uniqueInodes() && unix.Fstat(fd, &st) == nil {
			p.Inode = st.Ino
		}
	}
	state, _, start, err := readStat(pid)
	if err != nil {
		if !exists(pid) {
			return p, fmt.Errorf("process %d: %w", pid, err)
		}
		return p, nil
	}
	if state == 'Z' || state == 'X' {
		return p, fmt.Errorf("process %d: %w", pid, errEnded)
	}
	p.Start = start
	if fd >= 0 && unix.PidfdSendSignal(fd, 0, nil, 0) == unix.ESRCH {
		return p, fmt.Errorf("process %d: %w", pid, errEnded)
	}
	return p, nil
}

// readStat parses /proc/pid/stat from behind the last ')': the name before it may hold anything (proc(5)).
func readStat(pid int) (state byte, parent int, start uint64, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, 0, err
	}
	i := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[i+1:])
	if i < 0 || len(fields) < 20 {
		return 0, 0, 0, fmt.Errorf("parse /proc/%d/stat: too short", pid)
	}
	parent, err = strconv.Atoi(string(fields[1])) // field 4
	if err != nil {
		return 0, 0, 0, fmt.Errorf("parse /proc/%d/stat: %w", pid, err)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64) // field 22
	if err != nil {
		return 0, 0, 0, fmt.Errorf("parse /proc/%d/stat: %w", pid, err)
	}
	return fields[0][0], parent, start, nil
}

func ancestry(pid int) (name string, parent int, err error) {
	comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return "", 0, err
	}
	_, parent, _, err = readStat(pid)
	return strings.TrimSpace(string(comm)), parent, err
}
