// Package backup seals a home into one file and makes a home of such a file. The daemon need not run for either.
package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/localsocket"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// archive is the plaintext of a backup: all that a new machine needs to be the old one. What was accepted and is on its way is in
// it as it was sealed: should the old machine have sent it meanwhile, broker and recipients know it by its id. The numbers of
// messages are not: a restored home counts in a new epoch and takes the first number that it sees as the base.
type archive struct {
	Version int                 `json:"version"`
	Made    time.Time           `json:"made"`
	Config  []byte              `json:"config"` // config.json
	Owner   map[string][]byte   `json:"owner"`  // owner key files by name
	Buckets map[string][]record `json:"buckets"`
}

// record is one row of daemon.db.
type record struct {
	K []byte `json:"k"`
	V []byte `json:"v"`
}

const (
	archiveVersion = 1
	maxRows        = 1 << 32 // that a home may have numbered: a message every 10 ms for more than a year
)

// backedUp are the buckets in an archive: what is believed, whose keys are held, what was received, what was seen, so that it is
// not received again, and what is on its way.
var backedUp = []string{
	table.Trust, table.Pins, table.Known, table.Sessions, table.OwnSessions, table.Invites, table.Accepted, table.Inbox, table.InboxIDs,
	table.Waiting, table.Replay, table.Held, table.Outbox, table.Sealed, table.OutboxIDs, table.Receipts, table.Shares,
}

// ownerKeyName matches the files that a backup holds beside config.json.
var ownerKeyName = regexp.MustCompile(`^owner-[a-z0-9][a-z0-9-]*\.key$`)

// Make seals the home's archive. It needs the home's store, so it is for a home whose daemon does not run; a running one
// is asked (POST /v1/backup).
func Make(home config.Home, sealing *config.Sealing) ([]byte, error) {
	db, err := table.Open(home.DBFile())
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	defer db.Close()
	return MakeFrom(home, db, time.Now(), sealing)
}

// MakeFrom is Make for whoever has the home's store open already, the daemon.
func MakeFrom(home config.Home, db *store.DB, now time.Time, sealing *config.Sealing) ([]byte, error) {
	a := archive{Version: archiveVersion, Made: now.UTC(), Owner: make(map[string][]byte), Buckets: make(map[string][]record)}
	var err error
	if a.Config, err = os.ReadFile(home.ConfigFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("back up: %w", err)
	}
	paths, err := filepath.Glob(filepath.Join(home.Dir(), "owner-*.key"))
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	for _, path := range paths {
		if a.Owner[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("back up: %w", err)
		}
	}
	err = db.View(func(tx *store.Tx) error {
		for _, bucket := range backedUp {
			for k, v := range tx.Scan(bucket, nil, nil) {
				a.Buckets[bucket] = append(a.Buckets[bucket], record{K: append([]byte(nil), k...), V: append([]byte(nil), v...)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	plain, err := json.Marshal(&a)
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	defer clear(plain)
	return sealing.Seal(plain), nil
}

// Restored is what Restore put in place.
type Restored struct {
	Made   time.Time // when the backup was
	Meshes []string
	Owner  []string // owner key files
}

// Restore makes a home of a sealed archive. The home must be without a mesh and without a daemon. Errors are
// *protocol.Error: exists, invalid, unauthorized for a wrong passphrase.
func Restore(home config.Home, file, passphrase []byte) (*Restored, error) {
	if err := freeToRestore(home); err != nil {
		return nil, err
	}
	plain, err := config.OpenSealed(file, passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	a, err := parseArchive(plain)
	if err != nil {
		return nil, err
	}
	if err := a.restoreStore(home); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	out := &Restored{Made: a.Made}
	for name, text := range a.Owner {
		path := filepath.Join(home.Dir(), name)
		if err := config.CreateFile(path, text); err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
		out.Owner = append(out.Owner, path)
	}
	if err := config.WriteFile(home.ConfigFile(), a.Config); err != nil { // last: until then there is no mesh here
		return nil, fmt.Errorf("restore: %w", err)
	}
	c, err := home.Load()
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	for _, m := range c.Meshes {
		out.Meshes = append(out.Meshes, m.Slug)
	}
	return out, nil
}

func freeToRestore(home config.Home) error {
	c, err := home.Load()
	switch {
	case err != nil:
		return err
	case len(c.Meshes)+len(c.Originals) > 0:
		return protocol.Refuse(protocol.CodeExists, "%s has joined meshes already", home.Dir()).
			WithHint("restore into an empty home: %s=<dir> claudemesh restore …", config.EnvDir)
	}
	if paths, err := filepath.Glob(filepath.Join(home.Dir(), "owner-*.key")); err != nil || len(paths) > 0 {
		return errors.Join(protocol.Refuse(protocol.CodeExists, "%s holds owner keys already: %s", home.Dir(), paths), err)
	}
	if localsocket.Answers(home.SocketFile()) {
		return protocol.Refuse(protocol.CodeExists, "a daemon runs on %s", home.Dir()).WithHint("claudemesh daemon down stops it")
	}
	return nil
}

// parseArchive reads an opened backup. What it does not know it refuses: it was written by a newer claudemesh.
func parseArchive(plain []byte) (*archive, error) {
	a := new(archive)
	if err := json.Unmarshal(plain, a); err != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "the backup holds something else than a home")
	}
	if a.Version != archiveVersion {
		return nil, protocol.Refuse(protocol.CodeNotSupported, "the backup is of version %d, this claudemesh reads %d", a.Version, archiveVersion)
	}
	known := make(map[string]bool)
	for _, bucket := range backedUp {
		known[bucket] = true
	}
	for bucket, rows := range a.Buckets {
		if !known[bucket] {
			return nil, protocol.Refuse(protocol.CodeInvalid, "the backup holds unknown rows")
		}
		for _, r := range rows {
			if len(r.K) == 0 {
				return nil, protocol.Refuse(protocol.CodeInvalid, "the backup holds a row without a key")
			}
		}
	}
	for name := range a.Owner {
		if !ownerKeyName.MatchString(name) {
			return nil, protocol.Refuse(protocol.CodeInvalid, "the backup holds a malformed owner key file")
		}
	}
	return a, nil
}

// restoreStore makes daemon.db, complete or not at all. Epoch and instance are new.
func (a *archive) restoreStore(home config.Home) error {
	temp := home.DBFile() + ".restore"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := table.Open(temp)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *store.Tx) error {
		for bucket, rows := range a.Buckets {
			for _, r := range rows {
				if err := tx.Put(bucket, r.K, r.V); err != nil {
					return err
				}
			}
		}
		return a.continueNumbers(tx)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return os.Rename(temp, home.DBFile())
}

// continueNumbers has the buckets whose rows are numbered number on from the last one, lest a new row take the place of an old.
// The number stands at the end of a key.
func (a *archive) continueNumbers(tx *store.Tx) error {
	for _, bucket := range []string{table.Inbox, table.Outbox, table.Held, table.Receipts} {
		var last uint64
		for _, r := range a.Buckets[bucket] {
			if len(r.K) >= 8 {
				last = max(last, table.ParseU64(r.K[len(r.K)-8:]))
			}
		}
		if last > maxRows {
			return protocol.Refuse(protocol.CodeInvalid, "the backup numbers its rows beyond all measure")
		}
		if err := tx.SkipSequence(bucket, last); err != nil {
			return err
		}
	}
	return nil
}
