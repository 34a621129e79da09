//go:build linux || darwin || freebsd

package blobs

import "golang.org/x/sys/unix"

// freeSpace is how many bytes an ordinary user may still write.
func freeSpace(dir string) (int64, bool) {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return 0, false
	}
	return int64(fs.Bavail) * int64(fs.Bsize), true
}
