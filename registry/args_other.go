//go:build !linux

package registry

import (
	"os/exec"
	"strconv"
	"strings"
)

// Args returns the command line of a process, split at spaces; nothing where it cannot be read.
func Args(pid int) []string {
	out, err := exec.Command("ps", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil
	}
	return strings.Fields(string(out))
}
