package service

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Executable is the path of this program that lasts: the one on the PATH, or by which it was called, if that is a link to
// what runs; else where the file is. A link usually outlives the version that it points to.
func Executable() (string, error) {
	real, err := os.Executable()
	if err != nil { // Linux without /proc
		if real, err = exec.LookPath(os.Args[0]); err == nil {
			real, err = filepath.Abs(real)
		}
	}
	if err != nil {
		return "", fmt.Errorf("find this executable, with /proc not mounted and %s not on the PATH: %w", os.Args[0], err)
	}
	real = strings.TrimSuffix(real, " (deleted)") // Linux says so when an upgrade replaced the file under us
	return lasting(real, os.Args[0], filepath.Base(real)), nil
}

func lasting(real string, names ...string) string {
	for _, name := range names {
		p, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if p, err = filepath.Abs(p); err == nil && sameFile(p, real) {
			return p
		}
	}
	return real
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
