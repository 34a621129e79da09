//go:build !linux && !darwin

package registry

import (
	"fmt"
	"os"
)

func bootID() string { return "" }

// exists asks the system for a handle, which Windows gives for live processes only.
func exists(pid int) bool {
	if pid <= 0 {
		return false
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	p.Release()
	return true
}

func identify(pid int) (Process, error) {
	if !exists(pid) {
		return Process{PID: pid}, fmt.Errorf("process %d: no such process", pid)
	}
	return Process{PID: pid}, nil
}

func ancestry(int) (string, int, error) {
	return "", 0, fmt.Errorf("ancestors are not readable on this system")
}
