package service

import (
	"errors"
	"fmt"

	kardianos "github.com/kardianos/service"
)

// kardianosInstall writes the unit file, which must not exist, enables it and makes systemd read it.
func (m *systemd) kardianosInstall(text string) error {
	k, err := m.kardianos(text)
	if err != nil {
		return err
	}
	return k.Install()
}

// kardianosUninstall disables the unit, removes its file and makes systemd forget it.
func (m *systemd) kardianosUninstall() error {
	k, err := m.kardianos("")
	if err != nil {
		return err
	}
	return k.Uninstall()
}

// kardianos has the finished text as its template, and systemd for its system whatever it would have detected: it takes
// any machine for one of System V on which systemd does not run.
func (m *systemd) kardianos(text string) (kardianos.Service, error) {
	c := &kardianos.Config{
		Name:       m.unit,
		Executable: m.spec.executable,
		Option:     kardianos.KeyValue{"UserService": m.user, "SystemdScript": text},
	}
	for _, s := range kardianos.AvailableSystems() {
		if s.String() == "linux-systemd" {
			k, err := s.New(nil, c)
			if err != nil {
				return nil, fmt.Errorf("prepare the unit: %w", err)
			}
			return k, nil
		}
	}
	return nil, errors.New("systemd is not supported here")
}
