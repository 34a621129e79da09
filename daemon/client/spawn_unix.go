//go:build !windows

package client

import "syscall"

// detached gives the daemon a session of its own: closing the terminal or its process group does not reach it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
