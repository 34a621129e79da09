package registry

import (
	"os"
	"strconv"
	"strings"
)

// Args returns the command line of a process; nothing where it cannot be read.
func Args(pid int) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}
