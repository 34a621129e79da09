//go:build !windows

package config

import (
	"io/fs"
	"syscall"
)

func uidOf(info fs.FileInfo) (uid int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
