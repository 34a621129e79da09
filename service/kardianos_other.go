//go:build !linux

package service

import "errors"

var errNoSystemd = errors.New("systemd is of Linux")

func (m *systemd) kardianosInstall(string) error { return errNoSystemd }
func (m *systemd) kardianosUninstall() error     { return errNoSystemd }
