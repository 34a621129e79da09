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
	return fileID(exe)
}

// fileID tells one file's content from another's, without reading it; empty when the file is not there.
func fileID(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x-%x", info.Size(), info.ModTime().UnixNano())
}

// warnOldDaemon tells the user when the daemon that answers was started from another executable, as after an upgrade.
func (c *call) warnOldDaemon(running string) {
	if mine := buildID(); mine != "" && running != "" && running != mine {
		c.note("note: the running daemon is of another build; it follows when no session needs it, claudemesh daemon down and up does at once")
	}
}
