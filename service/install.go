package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	Warnings []string // about the place of the executable, and a file that was changed by hand
}

// Install writes the file, makes the manager start the service at every login or boot, and starts it now; over an older
// one of ours, it replaces the file and restarts. When it cannot put the service in place, or the service does not start,
// everything is as before; the error is a *StartError then.
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
	if old.changed {
		kept, err := keepChanged(s.manager.path(), old.text)
		if err != nil {
			return done, fmt.Errorf("keep what was changed by hand: %w", err)
		}
		done.Warnings = append(done.Warnings, "the file was changed by hand; a copy is at "+kept)
	}
	next, err := s.next(ctx, old, o)
	if err != nil {
		return done, err
	}
	if err := s.replace(ctx, old, next); err != nil {
		return done, errors.Join(err, s.undo(ctx, old, next))
	}
	done.Lingers = s.host.Lingers()
	if err := s.run(ctx, done.Replaced); err != nil {
		return done, &StartError{Err: err, Back: s.takeBack(context.WithoutCancel(ctx), old, next)}
	}
	removeDirs(s.unneeded(&next))
	return done, nil
}

// unneeded are the directories that were made for the service and that no file of it lies in any more:
// that of an environment which it does not have now.
func (s *Service) unneeded(f *files) (dirs []string) {
	paths := s.manager.paths(f.env)
	for _, dir := range f.dirs {
		if !slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p, dir+string(filepath.Separator)) }) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// next is what is to be installed. Lingering is on already where that is asked for.
func (s *Service) next(ctx context.Context, old files, o InstallOptions) (next files, err error) {
	next = files{env: o.Environment, marks: old.marks}
	if next.env == nil {
		next.env = old.env
	}
	next.dirs = missingDirs(s.manager.paths(next.env)...)
	for _, dir := range old.dirs { // one that went meanwhile is not ours any more
		if _, err := os.Lstat(dir); err == nil {
			next.dirs = append(next.dirs, dir)
		}
	}
	if o.Linger && !s.host.Lingers() {
		if err := s.host.setLinger(ctx, true); err != nil {
			return next, err
		}
		next.linger = true
	}
	next.text = s.written(s.manager.render(next.env), next.marks)
	return next, nil
}

// run starts the service, or a running one anew.
func (s *Service) run(ctx context.Context, again bool) error {
	if again {
		return s.manager.restart(ctx)
	}
	return s.manager.start(ctx)
}

// takeBack undoes an installation whose service does not start.
func (s *Service) takeBack(ctx context.Context, old, next files) error {
	if old.text == "" {
		_ = s.manager.stop(ctx) // it does not run; what is left of it in the manager's lists goes
		return errors.Join(s.manager.remove(ctx), s.undo(ctx, old, next))
	}
	return errors.Join(s.replace(ctx, next, old), s.undo(ctx, old, next), s.manager.restart(ctx))
}

// undo takes back what next does beside writing its file.
func (s *Service) undo(ctx context.Context, old, next files) error {
	removeDirs(slices.DeleteFunc(slices.Clone(next.dirs), func(dir string) bool { return slices.Contains(old.dirs, dir) }))
	if next.linger && !old.linger {
		return s.host.setLinger(ctx, false)
	}
	return nil
}

// StartError says that a service did not start.
type StartError struct {
	Err  error
	Back error // nil: everything is as before
}

func (e *StartError) Error() string { return "start the service: " + e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// files are what an installed service consists of.
type files struct {
	marks
	text    string // of the unit or plist; empty: there is none
	changed bool   // by hand
	env     Environment
}

// present reads the files in place.
func (s *Service) present() (files, error) {
	if err := notALink(s.manager.path()); err != nil {
		return files{}, err
	}
	text, err := s.installed()
	if errors.Is(err, ErrNotInstalled) {
		return files{}, nil
	}
	if err != nil {
		return files{}, err
	}
	f := files{text: text}
	_, f.marks, f.changed = s.read(text)
	f.env, err = s.manager.recorded(text)
	return f, err
}

// replace puts next in the place of old, which is empty when there was none; on an error old is back.
func (s *Service) replace(ctx context.Context, old, next files) error {
	if old.text == "" {
		if err := s.manager.place(ctx, next.text, next.env); err != nil {
			return errors.Join(fmt.Errorf("install the service: %w", err), s.manager.remove(ctx))
		}
		return nil
	}
	if err := s.manager.swap(ctx, next.text, next.env); err != nil {
		err = fmt.Errorf("replace the service: %w", err)
		if back := s.manager.swap(context.WithoutCancel(ctx), old.text, old.env); back != nil {
			err = fmt.Errorf("%w (the old one is back; the manager: %w)", err, back)
		}
		return err
	}
	return nil
}

// Uninstall stops the service and takes away everything that Install made, also what a broken Install left behind. A file that was
// changed by hand is kept under another name, which it returns. Where nothing is installed the error is ErrNotInstalled.
func (s *Service) Uninstall(ctx context.Context) (kept string, err error) {
	if err := notALink(s.manager.path()); err != nil {
		return "", err
	}
	text, err := s.installed()
	if err != nil {
		return "", err
	}
	_, k, changed := s.read(text)
	if changed {
		if kept, err = keepChanged(s.manager.path(), text); err != nil {
			return "", fmt.Errorf("keep what was changed by hand: %w", err)
		}
	}
	stopped := s.manager.stop(ctx) // a manager that does not answer must not keep the file in place
	if err := s.manager.remove(ctx); err != nil {
		return kept, errors.Join(fmt.Errorf("remove the service: %w", err), stopped)
	}
	removeDirs(k.dirs)
	if k.linger {
		return kept, errors.Join(stopped, s.host.setLinger(ctx, false))
	}
	return kept, stopped
}
