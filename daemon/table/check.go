package table

import (
	"errors"
	"os"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/store"
)

// checkPatience is short: a store that is taken has a daemon, which would have said what is wrong with it.
const checkPatience = 200 * time.Millisecond

// Check reads all of a daemon.db that no daemon has open and returns what is broken in it; it changes nothing. The error
// is fs.ErrNotExist where there is none yet, and store.ErrLocked where a daemon has it.
func Check(home config.Home) error {
	if _, err := os.Stat(home.DBFile()); err != nil {
		return err
	}
	db, err := store.Open(home.DBFile(), store.Options{Migrations: migrations, ReadOnly: true, Timeout: checkPatience})
	if errors.Is(err, store.ErrReadOnly) {
		return nil // of an older version: the daemon migrates it when it starts
	}
	if err != nil {
		return err
	}
	return errors.Join(db.Check(), db.Close())
}
