// Package config is what one user of this machine keeps on disk about meshes: a directory, the home, with config.json and
// the owner keys in it.
//
//	~/.claudemesh/            0700, CLAUDEMESH_CONFIG_DIR moves all of it
//	  config.json             memberships, in the schema of the original claudemesh where it fits
//	  config.lock             held while config.json is changed
//	  owner-<slug>.key        may be taken off the machine
//	  recovery-<slug>.seed    only where it could not be shown
//	  join-<link key>.pending a key on its way into a mesh
//	  daemon.db .sock .log    of package daemon
//	  broker/                 data of a broker on this machine
//
// Every file is 0600 from its first byte and replaced as a whole, so a reader sees the old one or the new one. What
// another program put into config.json stays as it is, byte for byte.
package config

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"

	"github.com/claudemesh/claudemesh/protocol"
)

// EnvDir is the environment variable that moves the home.
const EnvDir = "CLAUDEMESH_CONFIG_DIR"

const (
	dirMode  = 0o700
	fileMode = 0o600

	configName = "config.json"
	dbName     = "daemon.db"
)

// Home is the directory of one user's meshes. It is made by OpenHome.
type Home struct{ dir string }

// DefaultDir is the directory that the environment names: CLAUDEMESH_CONFIG_DIR, else .claudemesh in the user's home.
func DefaultDir() (string, error) {
	if dir := os.Getenv(EnvDir); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := UserDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, ".claudemesh"), nil
}

// UserDir is the user's home directory: HOME, else that of the password file. Service managers and containers may set no HOME.
func UserDir() (string, error) {
	if dir, err := os.UserHomeDir(); err == nil {
		return dir, nil
	}
	u, err := user.Current()
	if err != nil || u.HomeDir == "" {
		return "", protocol.Refuse(protocol.CodeInvalid, "this user has no home directory: HOME is not set, and the password file names none").
			WithHint("set HOME, or %s to the directory for claudemesh's files", EnvDir)
	}
	return u.HomeDir, nil
}

// DefaultHome opens the home that the environment names.
func DefaultHome() (Home, error) {
	dir, err := DefaultDir()
	if err != nil {
		return Home{}, err
	}
	return OpenHome(dir)
}

// FindHome is the home that the environment names, which need not be there: for verbs that make and change nothing.
func FindHome() (Home, error) {
	dir, err := DefaultDir()
	if err != nil {
		return Home{}, err
	}
	if err := checkHomeOwner(dir, os.Geteuid()); err != nil {
		return Home{}, err
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return Home{}, protocol.Refuse(protocol.CodeInvalid, "%s is no directory", dir).WithHint("point %s at a directory", EnvDir)
	}
	return Home{dir: dir}, nil
}

// OpenHome creates the directory when it is missing. One that others may enter is closed to them if it is plainly a home
// (empty, or with files of ours in it), and refused otherwise. One of another user is refused, unless EnvOtherHome says that
// it is meant.
func OpenHome(dir string) (Home, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Home{}, fmt.Errorf("open home: %w", err)
	}
	if err := checkHomeOwner(abs, os.Geteuid()); err != nil {
		return Home{}, err
	}
	if err := os.MkdirAll(abs, dirMode); err != nil {
		return Home{}, fmt.Errorf("create home: %w", err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return Home{}, fmt.Errorf("open home: %w", err)
	}
	if openToOthers(info) {
		if err := closeDir(abs); err != nil {
			return Home{}, err
		}
	}
	return Home{dir: abs}, nil
}

// closeDir takes a home away from others.
func closeDir(dir string) error {
	ours, err := looksOurs(dir)
	if err != nil {
		return fmt.Errorf("open home: %w", err)
	}
	if !ours {
		return protocol.Refuse(protocol.CodeForbidden, "%s is open to other users and holds other things", dir).
			WithHint("point %s at a directory of its own, or: chmod 700 %s", EnvDir, dir)
	}
	if err := os.Chmod(dir, dirMode); err != nil {
		return fmt.Errorf("close home to other users: %w", err)
	}
	return nil
}

func looksOurs(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.Name() == configName || e.Name() == dbName {
			return true, nil
		}
	}
	return len(entries) == 0, nil
}

// openToOthers reports whether the mode lets anyone but the owner in. Windows keeps access lists instead of modes: there
// the user's profile is private by inheritance.
func openToOthers(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0
}

// checkPrivate refuses a file with secrets that others may read: they are to be taken as read.
func checkPrivate(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if openToOthers(info) {
		return protocol.Refuse(protocol.CodeForbidden, "%s holds secret keys and is open to other users (mode %04o)", f.Name(), info.Mode().Perm()).
			WithHint("chmod 600 %s; if someone else uses this machine, join again with new keys", f.Name())
	}
	return nil
}

// Dir is the directory's absolute path.
func (h Home) Dir() string { return h.dir }

// ConfigFile is the path of config.json.
func (h Home) ConfigFile() string { return filepath.Join(h.dir, configName) }

// DBFile is the path of the daemon's store, whose lock makes the daemon the only one.
func (h Home) DBFile() string { return filepath.Join(h.dir, dbName) }

// RecallFile is the memory: an index over this machine's agent sessions.
func (h Home) RecallFile() string { return filepath.Join(h.dir, "recall.db") }

// LogFile is the path of the daemon's log.
func (h Home) LogFile() string { return filepath.Join(h.dir, "daemon.log") }

// BrokerDir is the default data directory of a broker on this machine.
func (h Home) BrokerDir() string { return BrokerDir(h.dir) }

// BrokerDir is BrokerDir of a home that nobody opened.
func BrokerDir(home string) string { return filepath.Join(home, "broker") }

// SocketFile is where the daemon's socket belongs. It may be elsewhere: see package localsocket.
func (h Home) SocketFile() string { return filepath.Join(h.dir, "daemon.sock") }
