package config

import "io/fs"

// uidOf does not know: there, access lists decide, and an elevated process has the same user.
func uidOf(fs.FileInfo) (uid int, known bool) { return 0, false }
