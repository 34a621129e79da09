package cli

import (
	"fmt"
	"os"
)

// buildID names the running executable: another file, also of the same version, has another one. A version stamp would not
// do, because builds from one work tree share it.
func buildID() string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	info, err := os.Stat(exe)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x-%x", info.Size(), info.ModTime().UnixNano())
}

// warnOldDaemon tells the user when the daemon that answers was started from another executable, as after an upgrade.
func (c *call) warnOldDaemon(running string) {
	if mine := buildID(); mine != "" && running != "" && running != mine {
		c.note("note: the running daemon is of another build; claudemesh daemon down and up replaces it")
	}
}
