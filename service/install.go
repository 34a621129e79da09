package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// InstallOptions of Install.
type InstallOptions struct {
	Force  bool // disregard refusals that are not final
	Linger bool // let the user's services run without a login (systemd user units)

	Environment Environment // of the daemon's service; nil keeps what is recorded
}

// Installed is what Install did.
type Installed struct {
	Replaced bool     // there was one before
	Lingers  bool     // the daemon runs without a login
	Warnings []string // about the place of the executable
}

// Install writes the file, makes the manager start the service at every login or boot, and starts it now; over an older
// one of ours, it replaces the file and restarts. When it cannot put the service in place, everything is as before. When
// the service is in place and does not start, the error is a *StartError and the service stays.
func (s *Service) Install(ctx context.Context, o InstallOptions) (Installed, error) {
	var done Installed
	if r := s.Obstacle(ctx, o.Force); r != nil {
		return done, r
	}
	if r := o.Environment.obstacle(); r != nil {
		return done, r
	}
	old, err := s.present()
	if err != nil {
		return done, err
	}
	done.Replaced = old.text != ""
	done.Warnings = placeWarnings(s.spec.executable)

	next := files{env: o.Environment}
	if next.env == nil {
		next.env = old.env
	}
	next.text = s.manager.render(next.env)
	mark := strings.Contains(old.text, lingerMark)
	if o.Linger && !s.host.Lingers() {
		if err := s.host.setLinger(ctx, true); err != nil {
			return done, err
		}
		mark = true
	}
	if mark {
		next.text += lingerMark
	}
	if err := s.replace(ctx, old, next); err != nil {
		if mark && !strings.Contains(old.text, lingerMark) {
			err = errors.Join(err, s.host.setLinger(ctx, false))
		}
		return done, err
	}
	done.Lingers = s.host.Lingers()
	if done.Replaced {
		err = s.manager.restart(ctx)
	} else {
		err = s.manager.start(ctx)
	}
	if err != nil {
		return done, &StartError{err}
	}
	return done, nil
}

// StartError says that a service is installed and did not start.
type StartError struct{ Err error }

func (e *StartError) Error() string { return "start the service: " + e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// files are what an installed service consists of.
type files struct {
	text string // of the unit or plist; empty: there is none
	env  Environment
}

// present reads the files in place.
func (s *Service) present() (files, error) {
	text, err := s.installed()
	if errors.Is(err, ErrNotInstalled) {
		return files{}, nil
	}
	if err != nil {
		return files{}, err
	}
	env, err := s.manager.recorded(text)
	return files{text, env}, err
}

// replace puts next in the place of old, which is empty when there was none; on an error old is back.
func (s *Service) replace(ctx context.Context, old, next files) error {
	if old.text != "" {
		if err := s.manager.remove(ctx); err != nil {
			return fmt.Errorf("take the old service out: %w", err)
		}
	}
	err := s.manager.place(ctx, next.text, next.env)
	if err == nil {
		return nil
	}
	err = errors.Join(fmt.Errorf("install the service: %w", err), s.manager.remove(ctx))
	if old.text != "" {
		err = errors.Join(err, s.manager.place(ctx, old.text, old.env))
	}
	return err
}

// Uninstall stops the service and takes away everything that Install made, also what a broken Install left behind. Where
// nothing is installed the error is ErrNotInstalled.
func (s *Service) Uninstall(ctx context.Context) error {
	text, err := s.installed()
	if err != nil {
		return err
	}
	stopped := s.manager.stop(ctx) // a manager that does not answer must not keep the file in place
	if err := s.manager.remove(ctx); err != nil {
		return errors.Join(fmt.Errorf("remove the service: %w", err), stopped)
	}
	if strings.Contains(text, lingerMark) {
		return errors.Join(stopped, s.host.setLinger(ctx, false))
	}
	return stopped
}
