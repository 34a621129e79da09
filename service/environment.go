package service

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Environment is what the daemon's service is told of the way to the network, by the name of the variable. Values may hold
// passwords: the file with them is this user's alone.
type Environment map[string]string

// Environment returns what is recorded for the installed service.
func (s *Service) Environment() (Environment, error) {
	text, err := s.installed()
	if err != nil {
		return nil, err
	}
	return s.manager.recorded(text)
}

// sorted lists the names in the order in which they are written.
func (e Environment) sorted() []string { return slices.Sorted(maps.Keys(e)) }

// obstacle refuses what cannot stand in a unit file.
func (e Environment) obstacle() *Refusal {
	for _, name := range e.sorted() {
		if strings.ContainsAny(e[name], "\n\r\x00") {
			return &Refusal{Reason: name + " in the environment has a line break in it", Hint: "set it anew, or take it out of the environment", Final: true}
		}
	}
	return nil
}

// dropIn is the file beside a systemd unit that holds its environment. The user's own files in that directory come after
// it, and count more.
func (m *systemd) dropIn() string {
	return filepath.Join(m.path()+".d", "10-claudemesh-environment.conf")
}

// placeEnvironment writes the drop-in, 0600 from its first byte, or takes it away where there is nothing to tell.
func (m *systemd) placeEnvironment(e Environment) error {
	if err := m.removeEnvironment(); err != nil || len(e) == 0 {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s, and replaces it.\n[Service]\n", fileMark(m.spec.verb))
	for _, name := range e.sorted() {
		fmt.Fprintf(&b, "Environment=%s\n", quote(name+"="+e[name]))
	}
	if err := os.MkdirAll(filepath.Dir(m.dropIn()), 0o700); err != nil {
		return err
	}
	return writePrivate(m.dropIn(), b.Bytes())
}

// removeEnvironment undoes placeEnvironment. A file of that name that is not ours stays, and is an error.
func (m *systemd) removeEnvironment() error {
	if !m.user {
		return nil
	}
	if b, err := os.ReadFile(m.dropIn()); err == nil && !strings.Contains(string(b), fileMark(m.spec.verb)) {
		return fmt.Errorf("%s: %w", m.dropIn(), ErrForeign)
	}
	for _, p := range []string{m.dropIn(), m.dropIn() + ".new"} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// recorded reads the drop-in.
func (m *systemd) recorded(string) (Environment, error) {
	b, err := os.ReadFile(m.dropIn())
	if errors.Is(err, fs.ErrNotExist) {
		return Environment{}, nil
	}
	if err != nil {
		return nil, err
	}
	e := Environment{}
	for line := range strings.Lines(string(b)) {
		word, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "Environment=")
		if name, value, is := strings.Cut(unquote(word), "="); ok && is {
			e[name] = value
		}
	}
	return e, nil
}

// writePrivate replaces a file that nobody else may read.
func writePrivate(path string, content []byte) error { return writeNew(path, content, 0o600) }

func writeNew(path string, content []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, path)
}
