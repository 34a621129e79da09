package client

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// detached takes the daemon off the console and its process group.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}
